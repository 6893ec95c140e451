"""MuPDF without PyMuPDF's proxies: its objects go, its errors come as Python knows them."""

import subprocess
import sys
import textwrap
from pathlib import Path

from pymupdf import mupdf as proxies

from adapters.pdf import mupdf
from tests import pdf_files

ROOT = Path(__file__).parents[2]


def run(script: str, *arguments: str) -> list[str]:
    """Run a script where PyMuPDF's proxies are not loaded, as in the fork server."""
    program = "from adapters.pdf.warm import import_bare_package; import_bare_package()\n" + textwrap.dedent(script)
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_errors_say_what_failed_and_listeners_hear_the_rest() -> None:
    said = run(
        """
        import sys
        from adapters.pdf import mupdf
        heard = []
        kept = [mupdf.DiagnosticCallback(kind, heard.append) for kind in ("warning", "error")]
        for kind, content in (("pdf", b"not a PDF"), ("odd", b"")):
            try:
                mupdf.fz_open_document_with_stream(kind, mupdf.fz_open_memory(content))
            except mupdf.MupdfError as error:
                print(error)
        mupdf.fz_flush_warnings()
        print(len(heard) > 0, "pymupdf.mupdf" in sys.modules)
        """
    )

    assert said == ["no objects found", "cannot find document handler for file type: 'odd'", "True False"]


def test_nothing_is_left_of_objects_errors_and_pages(tmp_path: Path) -> None:
    (grown,) = run(
        """
        import resource, sys
        from contextlib import suppress
        from adapters.pdf import document, mupdf
        document.prepare_mupdf()
        content = document.map_file(sys.argv[1])
        file = mupdf.fz_open_document_with_stream("pdf", mupdf.fz_open_memory(content))

        def use(times):
            for _ in range(times):
                page = mupdf.fz_load_page(file, 0)
                node = mupdf.PdfPage_obj(mupdf.pdf_page_from_fz_page(page))
                assert document._read_text(page, node)
                contents = mupdf.pdf_dict_gets(node, "Contents")
                stream = mupdf.pdf_array_get(contents, 0) if mupdf.pdf_is_array(contents) else contents
                number = mupdf.pdf_to_num(stream)
                assert bytes(mupdf.pdf_load_raw_stream_number(mupdf.pdf_document_from_fz_document(file), number))
                with suppress(mupdf.MupdfError):
                    mupdf.fz_load_page(file, 99)
            document.prepare_mupdf().clear()
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

        print(use(300) * -1 + use(3000))
        """,
        str(pdf_files.text_pdf(tmp_path / "two.pdf")),
    )

    assert int(grown) < 1024, "KiB; one buffer of 8 KiB a page would be 24 MiB"


def test_every_sort_of_error_has_its_class() -> None:
    """MuPDF crashes on an error without one."""
    assert len(proxies.FzErrorBase.__subclasses__()) + 1 == mupdf.ERROR_SORTS


def test_loaded_proxies_keep_working(tmp_path: Path) -> None:
    """This process has both."""
    document = proxies.fz_open_document(str(pdf_files.text_pdf(tmp_path / "two.pdf")))

    assert isinstance(document, proxies.FzDocument)
    assert mupdf.fz_count_pages(document) == 2
