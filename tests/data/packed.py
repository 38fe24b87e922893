"""Files in files: zips, and workbooks of just enough of Office Open XML."""

import io
import zipfile


def zipped(**members):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, text in members.items():
            archive.writestr(name.replace("__", "."), text)
    return content.getvalue()


def sheet(rows):
    """The bytes of a workbook with one sheet: just enough of Office Open XML."""
    cells = "".join(f"<row>{''.join(cell(value) for value in row)}</row>" for row in rows)
    office = "http://schemas.openxmlformats.org"
    return zipped(
        **{
            "[Content_Types]__xml": f'<Types xmlns="{office}/package/2006/content-types"/>',
            "_rels/__rels": f'<Relationships xmlns="{office}/package/2006/relationships"><Relationship Id="r1" '
            f'Type="{office}/officeDocument/2006/relationships/officeDocument" Target="xl/workbook.xml"/>'
            "</Relationships>",
            "xl/workbook__xml": f'<workbook xmlns="{office}/spreadsheetml/2006/main" '
            f'xmlns:r="{office}/officeDocument/2006/relationships"><sheets><sheet name="s" sheetId="1" r:id="r1"/>'
            "</sheets></workbook>",
            "xl/_rels/workbook__xml__rels": f'<Relationships xmlns="{office}/package/2006/relationships"><Relationship '
            f'Id="r1" Type="{office}/officeDocument/2006/relationships/worksheet" Target="worksheets/s.xml"/>'
            "</Relationships>",
            "xl/worksheets/s__xml": f'<worksheet xmlns="{office}/spreadsheetml/2006/main"><sheetData>{cells}'
            "</sheetData></worksheet>",
        }
    )


def cell(value):
    if isinstance(value, str):
        return f'<c t="inlineStr"><is><t>{value}</t></is></c>'
    return "<c/>" if value is None else f"<c><v>{value}</v></c>"
