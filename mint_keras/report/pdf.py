"""A page of ours as PDF, by WeasyPrint where it is installed: the page's own style for paper does the rest."""

import contextlib
import hashlib
import io
from pathlib import Path

import matplotlib

from mint_keras import environment, formats

# What browsers cannot do: a line in the margin of every page. And fonts of matplotlib, so that paper looks alike on
# every machine, also on one without any.
_STYLE = """
@font-face { font-family: report; src: url(%s); }
@font-face { font-family: report; font-weight: bold; src: url(%s); }
@font-face { font-family: report-mono; src: url(%s); }
@page { @bottom-left { content: element(running); width: 160mm; } @bottom-right { font-family: report !important; } }
#running { display: block !important; position: running(running); font: 6.5pt report; color: #444; }
html, body { font-family: report !important; }
code, pre { font-family: report-mono !important; }
"""
_FONTS = ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf", "DejaVuSansMono.ttf")


def write(path: Path, page: str) -> bool:
    """Writes a page of `dossier.render` as a PDF, and returns whether there is a WeasyPrint that can.

    Nothing but the page's own pictures is loaded.
    """
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # where Pango is missing it prints a banner
            import weasyprint
    except (ImportError, OSError):  # an extra; and Pango is no Python package
        return False
    weasyprint.LOGGER.setLevel("ERROR")  # it warns of styles that it leaves out
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    style, fonts = (
        _STYLE % tuple((folder / name).as_uri() for name in _FONTS),
        weasyprint.text.fonts.FontConfiguration(),
    )
    # The style is ours and has its fonts; the page has names of strangers' files in it, and nothing but its pictures.
    sheet = weasyprint.CSS(
        string=style, font_config=fonts, url_fetcher=weasyprint.urls.URLFetcher(allowed_protocols=("file",))
    )
    document = weasyprint.HTML(string=page, url_fetcher=weasyprint.urls.URLFetcher(allowed_protocols=("data",)))
    # Equal pages are equal bytes: fontTools, which cuts the fonts where HarfBuzz is old, would date them.
    with environment.undated(), formats.atomic_path(path) as temporary:
        # With tags the document can be read aloud.
        identifier = hashlib.sha256(page.encode()).digest()[:16]
        document.write_pdf(temporary, stylesheets=[sheet], font_config=fonts, pdf_identifier=identifier, pdf_tags=True)
    return True
