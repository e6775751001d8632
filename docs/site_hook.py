"""What the site shows of files outside of docs: README as its front page, and notebooks as pages.

Links are written for the repository; here they are turned to where a page lies in the site.
"""

import posixpath
import re
from pathlib import Path

import nbconvert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
# By the path in the repository: the page of the site.
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "CODE_OF_CONDUCT.md": "conduct.md",
    "models/README.md": "models.md",
    "export/README.md": "bundles.md",
    "LICENSE": "LICENSE.txt",
    "CITATION.cff": "CITATION.cff",
    **{f"configs/{path.name}": f"configs/{path.name}" for path in (ROOT / "configs").glob("*.yaml")},
}
NOTEBOOKS = {f"notebooks/{path.name}": f"notebooks/{path.stem}.md" for path in (ROOT / "notebooks").glob("*.ipynb")}
LINK = re.compile(r"(\]\()([^)#\s]+)((?:#[^)]*)?\))")


def relinked(text: str, where: str, page: str) -> str:
    """Turns the links of a text that lies at `where` in the repository into those of the page it becomes."""

    def turn(match: re.Match) -> str:
        if match[2].startswith(("http:", "https:", "mailto:")):
            return match[0]
        target = posixpath.normpath(posixpath.join(posixpath.dirname(where), match[2]))
        target = (PAGES | NOTEBOOKS).get(target, target.removeprefix("docs/"))
        return match[1] + posixpath.relpath(target, posixpath.dirname(page) or ".") + match[3]

    return LINK.sub(turn, text)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages whose text lies outside of docs."""
    for where, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / where).read_text()))
    for where, page in NOTEBOOKS.items():
        text, resources = nbconvert.MarkdownExporter().from_filename(str(ROOT / where))
        pictures = {name: f"{Path(page).stem}_{name}" for name in resources["outputs"]}
        for name, picture in pictures.items():
            files.append(File.generated(config, f"notebooks/{picture}", content=resources["outputs"][name]))
            text = text.replace(f"({name})", f"({picture})")
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turns the links of every page."""
    where = {page: where for where, page in (PAGES | NOTEBOOKS).items()}
    source = page.file.src_uri
    if source in NOTEBOOKS.values():
        return markdown  # its pictures lie beside it
    return relinked(markdown, where.get(source, f"docs/{source}"), source)


def on_post_build(config: MkDocsConfig) -> None:
    """Refuses a site that loads anything from elsewhere: fonts, scripts, styles, pictures."""
    loads = re.compile(r"<(?:script|img|iframe|link)\b[^>]*(?:src|href)=[\"']?(?:https?:)?//[^>]*>")
    for path in Path(config.site_dir).rglob("*.html"):
        if found := loads.search(path.read_text()):
            raise PluginError(f"Expected a site that loads nothing from elsewhere, received {found[0]} in {path}.")
