"""Sphinx settings of the book (`make book`): no other host, no execution, formulas as MathML, which browsers draw."""

from docutils import nodes
from latex2mathml.converter import convert

project = "Synfluence"
author = copyright = ""
html_title = "Synfluence"
html_theme = "furo"
extensions = ["myst_nb"]
html_show_sphinx = html_show_copyright = html_copy_source = html_show_sourcelink = False
html_show_search_summary = False  # it fetches pages, which a browser refuses without a server
html_static_path = ["_static"]
html_css_files = ["book.css"]
html_theme_options = {"top_of_page_buttons": []}
pygments_style, pygments_dark_style = "friendly", "monokai"
language = "en"
highlight_language = "text"  # notebooks and most blocks say theirs

nb_execution_mode = "off"  # the committed outputs are what the text speaks of
nb_merge_streams = True
nb_ipywidgets_js = {}  # would be fetched from another host
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
# "---" in a text that a notebook shows draws its line all the same
suppress_warnings = ["myst.header", "docutils"]


def _inline(translator, node):
    translator.body.append(convert(node.astext()))
    raise nodes.SkipNode


def _block(translator, node):
    translator.body.append(f'<div class="math">{convert(node.astext(), display="block")}</div>')
    raise nodes.SkipNode


def setup(app):
    """Have formulas written as MathML: no script, no fonts, no other host."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))


html_math_renderer = "mathml"
