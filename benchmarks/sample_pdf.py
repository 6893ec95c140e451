"""Make the demo's sample from benchmarks/sample.md, one page a section: `python -m benchmarks.sample_pdf`."""

from pathlib import Path

import pymupdf

SOURCE = Path(__file__).with_name("sample.md")
RESULT = Path(__file__).parents[1] / "adapters" / "cli" / "sample.pdf"

MARGIN, FOOT = 72, 40
STYLE = """
body { font-family: serif; font-size: 11.5pt; line-height: 1.35; }
h1 { font-family: sans-serif; font-size: 19pt; color: #1d4f73; }
p { text-align: justify; margin-bottom: 7pt; }
"""


def main() -> None:
    document = pymupdf.open()
    document.set_metadata({"title": "The Headrace and the Wheel", "author": "Headrace"})
    for number, section in enumerate(SOURCE.read_text(encoding="utf-8").split("\n---\n"), start=1):
        add_page(document, section, number)
    document.subset_fonts()
    document.save(RESULT, garbage=4, deflate=True, no_new_id=True)
    print(f"{RESULT.name}: {document.page_count} pages, {RESULT.stat().st_size:,} bytes")


def add_page(document: "pymupdf.Document", section: str, number: int) -> None:
    page = document.new_page()
    area = pymupdf.Rect(MARGIN, MARGIN, page.rect.width - MARGIN, page.rect.height - MARGIN)
    room, _ = page.insert_htmlbox(area, markup(section), css=STYLE, scale_low=0.9)
    assert room >= 0, f"section {number} does not fit its page"
    foot = pymupdf.Point(page.rect.width / 2 - 4, page.rect.height - FOOT)
    page.insert_text(foot, str(number), fontname="tiro", fontsize=10)


def markup(section: str) -> str:
    parts = (part.strip() for part in section.strip().split("\n\n"))
    return "".join(f"<h1>{part[2:]}</h1>" if part.startswith("# ") else f"<p>{part}</p>" for part in parts)


if __name__ == "__main__":
    main()
