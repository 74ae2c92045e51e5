"""`stemma serve`: models over HTTP as OpenAI's server speaks, until Ctrl-C or SIGTERM."""

import logging
from typing import Annotated

import typer

from orchestration.options import HomeOption, speaks_plainly

GRACE_S = 5  # for answers that are still being streamed


@speaks_plainly
def serve(
    model: Annotated[
        str | None, typer.Argument(help="A model of the home, or a checkpoint's directory (default: all of the home).")
    ] = None,
    port: Annotated[int, typer.Option(help="Where it listens.", min=1, max=65535)] = 8001,
    host: Annotated[str, typer.Option(help="Any but this machine's own needs a token.")] = "127.0.0.1",
    token: Annotated[str | None, typer.Option(envvar="STEMMA_SERVE_TOKEN", help="Who asks must show it.")] = None,
    threads: Annotated[int, typer.Option(help="Threads that compute.", min=1, max=256)] = 2,
    texts: Annotated[int, typer.Option(help="Texts that are drawn at once; more wait.", min=1, max=1024)] = 64,
    cache_mb: Annotated[int, typer.Option(help="Most of the keys and values of a model, in MiB.", min=1)] = 1024,
    home: HomeOption = None,
) -> None:
    """Answer OpenAI-compatible requests: /v1/models, /v1/completions, /v1/chat/completions."""
    import uvicorn

    from orchestration.home import locate
    from orchestration.servers import Server, refuse_taken
    from orchestration.serving.app import build
    from orchestration.serving.settings import ServeSettings

    settings = ServeSettings(
        locate(home).root, model, host, port, token or None, threads, texts, cache_bytes=cache_mb << 20
    )
    refuse_taken(Server("serve", [], host, port, "--port", {}))
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    app = build(settings)
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}/v1"
    names = ", ".join(one.name for one in app.state.shelf.all()) or "no model yet: run `stemma demo`"
    typer.echo(f"Serving {names}\n{address}{' (asks for the token)' if settings.token else ''}; Ctrl-C ends it.")
    # what is asked for is not logged: it is somebody's text
    uvicorn.run(
        app, host=host, port=port, access_log=False, log_level="warning", server_header=False,
        timeout_graceful_shutdown=GRACE_S,
    )  # fmt: skip
