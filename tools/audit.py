"""Look up the advisories of the versions in constraints.txt with pip-audit.

Exits with 1 where one is known, and says so in one line where the data cannot be reached.

Usage: python tools/audit.py [constraints.txt]
"""

import json
import subprocess
import sys
from pathlib import Path

CONSTRAINTS = Path(__file__).parents[1] / "constraints.txt"
# what requests and urllib3 call it
UNREACHABLE = ("ConnectionError", "ConnectTimeout", "ReadTimeout", "ProxyError", "SSLError", "ServiceError")


def audit(constraints: Path) -> tuple[int, str]:
    """Exit status, and what to say."""
    # all versions are exact, so that nothing is resolved or installed; the open database needs no registry
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(constraints), "--no-deps", "--disable-pip"]
    command += ["--vulnerability-service", "osv", "--format", "json", "--progress-spinner", "off"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        found = json.loads(done.stdout)["dependencies"]
    except ValueError:
        last = (done.stderr.strip().splitlines() or ["no reason"])[-1]
        if any(name in done.stderr for name in UNREACHABLE):
            return 0, f"audit skipped: the advisories cannot be reached ({last[:120]})"
        return 1, f"pip-audit failed: {last}"
    known = [(each, advisory) for each in found for advisory in each.get("vulns", [])]
    if not known:
        return 0, f"audit: no advisory is known of {len(found)} packages"
    lines = [
        f"{each['name']} {each['version']}: {advisory['id']}, mended in {', '.join(advisory['fix_versions']) or 'none'}"
        for each, advisory in known
    ]
    return 1, "\n".join(lines)


if __name__ == "__main__":
    status, said = audit(Path(sys.argv[1]) if len(sys.argv) > 1 else CONSTRAINTS)
    print(said)
    sys.exit(status)
