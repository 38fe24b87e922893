"""Spreadsheets: the first sheet of a workbook, as text."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path

import polars as pl

from hyvae.data.columns import ReadOptions
from hyvae.data.limits import require_size, size_limit
from hyvae.data.text import ratings_from_text
from hyvae.errors import DataError
from hyvae.ratings import Ratings

_MOST_REASON = 200


def read_excel(path: Path, options: ReadOptions) -> Ratings:
    """Read the first sheet of a workbook (.xlsx, .xlsm, .xls, .ods); needs fastexcel (`pip install 'hyvae[excel]'`).

    Raises
    ------
    DataError
        fastexcel is not installed, or it is no workbook.
    """
    limit = size_limit(options.max_size, path.stat().st_size)
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            require_size(sum(member.file_size for member in archive.infolist()), limit, str(path))
    try:
        import fastexcel

        sheet = fastexcel.read_excel(path.read_bytes()).load_sheet(0, header_row=None, dtypes="string")
        frame = sheet.to_polars()
    except ImportError as error:
        raise DataError(f"{path}: reading spreadsheets needs fastexcel; pip install 'hyvae[excel]'") from error
    # its errors derive from Exception alone
    except (Exception, pl.exceptions.PanicException) as error:
        reason = " ".join(str(error).split())[:_MOST_REASON]
        raise DataError(f"{path}: not readable as a spreadsheet ({reason}); save the sheet as CSV") from error
    text = frame.write_csv(include_header=False).encode()
    return ratings_from_text(text, str(path), replace(options, separator=",", quote=None, encoding="utf-8"))
