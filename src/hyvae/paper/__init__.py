"""The paper of Hy-VAE, retold: its tables, figures and claims, with our numbers beside the printed ones."""

from hyvae.paper.retelling import PARTS, retell

__all__ = ["PARTS", "retell"]
