"""Fixtures of the graph's rooms: an S3 server of our own."""

import pytest


@pytest.fixture(scope="session")
def s3():
    """deltalake options of a moto server on a free port, with the bucket `stemma-test`."""
    import s3fs
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    options = {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "AWS_ALLOW_HTTP": "true",
    }
    s3fs.S3FileSystem(key="test", secret="test", endpoint_url=endpoint).mkdir("stemma-test")
    yield options
    server.stop()
