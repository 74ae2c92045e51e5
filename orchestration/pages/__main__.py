"""`python -m orchestration.pages`: the pages of one home, served until SIGINT or SIGTERM. `stemma ui` starts it."""

import logging
import threading
from contextlib import suppress
from typing import Annotated

import typer

from orchestration.home import locate
from orchestration.options import HomeOption, speaks_plainly
from orchestration.pages.settings import PageSettings
from orchestration.pages.site import Site

GRACE_S = 5  # for answers that are still being streamed


@speaks_plainly
def main(
    home: HomeOption = None,
    port: Annotated[int, typer.Option(help="Where they listen.", min=1, max=65535)] = 8000,
    host: Annotated[str, typer.Option(help="Any but this machine's own needs a token.")] = "127.0.0.1",
    token: Annotated[str | None, typer.Option(envvar="STEMMA_PAGES_TOKEN", help="Who comes in must show it.")] = None,
    dagster: Annotated[str, typer.Option(help="Where Dagster answers.")] = "http://127.0.0.1:3000",
    mlflow: Annotated[str, typer.Option(help="Where MLflow answers.")] = "http://127.0.0.1:5000",
) -> None:
    """Serve Stemma's pages alone, without Dagster and MLflow."""
    place = locate(home)
    settings = PageSettings(place.root, dagster.rstrip("/"), mlflow.rstrip("/"), host, port, token or None)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    serve(settings)


def serve(settings: PageSettings) -> None:
    """Answers until it is asked to end. What is asked for is not logged: an address can hold somebody's text."""
    import uvicorn

    from orchestration.pages.app import build

    app = build(settings)
    threading.Thread(target=preload, args=(app.state.site,), daemon=True).start()
    uvicorn.run(
        app,
        host=settings.host,
        port=settings.port,
        access_log=False,
        log_level="info",
        server_header=False,
        timeout_graceful_shutdown=GRACE_S,
    )


def preload(site: Site) -> None:
    """Reads the rows of all pages, loads the text kernels and looks how models stand before anybody asks; a home that
    has no rows or models yet is no fault."""
    from orchestration.pages.document_panels import warm
    from orchestration.pages.models import checkpoints, standing
    from orchestration.pages.shelf import NothingYet
    from orchestration.pages.weighed import weighed

    with suppress(NothingYet):
        weighed(site)
    warm()
    with suppress(NothingYet):
        checkpoints(site)
        standing(site)


if __name__ == "__main__":
    typer.run(main)
