"""A real MLflow loads the model from the mount by path, and serves it."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request

import pytest
from conftest import IRIS, run, wait_until

os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")


@pytest.fixture
def model(mount):
    path = mount.model()
    run("cp", "-r", IRIS, path / "versions" / "draft")
    run("mv", path / "versions" / "draft", path / "versions" / "1")
    run("ln", "-s", "../versions/1", path / "aliases" / "Champion")
    return path


def predicted(path) -> list:
    import mlflow  # takes seconds to import

    loaded = mlflow.pyfunc.load_model(str(path))
    return loaded.predict(loaded.input_example).tolist()


def test_pyfunc_load_model_by_every_path(model):
    """load_model from versions/1, from the alias directory, and from aliases/Champion/ with its slash: same result."""
    want = predicted(IRIS)
    assert want == [0, 0, 0]
    assert predicted(model / "versions" / "1") == want
    assert predicted(f"{model}@Champion") == want
    assert predicted(f"{model}/aliases/Champion/") == want


def test_save_model_into_a_draft(mount):
    """mlflow's own save_model writes straight into a draft, which then commits."""
    import mlflow
    from sklearn.datasets import load_iris
    from sklearn.tree import DecisionTreeClassifier

    features, species = load_iris(return_X_y=True, as_frame=True)
    tree = DecisionTreeClassifier(random_state=0).fit(features, species)
    path = mount.model("prod.ml_team.tree")
    mlflow.sklearn.save_model(tree, str(path / "versions" / "draft"), serialization_format="skops",
                              pip_requirements=["scikit-learn"],
                              signature=mlflow.models.infer_signature(features, species))
    run("mv", path / "versions" / "draft", path / "versions" / "next")
    loaded = mlflow.pyfunc.load_model(str(path / "versions" / "1"))
    assert loaded.predict(features).tolist() == tree.predict(features).tolist()


def test_models_serve_by_alias(mount, model):
    """`mlflow models serve -m …@Champion` returns the model's prediction from /invocations."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = mount.scratch / "serve.log"
    mlflow = pathlib.Path(sys.executable).parent / "mlflow"
    environment = dict(os.environ, PATH=f"{mlflow.parent}{os.pathsep}{os.environ['PATH']}")
    with open(log, "wb") as output:
        server = subprocess.Popen(
            [mlflow, "models", "serve", "-m", f"{model}@Champion", "--env-manager", "local", "--host", "127.0.0.1",
             "--port", str(port), "--workers", "1"],
            stdout=output, stderr=output, stdin=subprocess.DEVNULL, start_new_session=True, env=environment,
            cwd=mount.scratch)
    try:
        def answers():
            if server.poll() is not None:
                pytest.fail(f"mlflow models serve ended: {log.read_text()}")
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=5) as reply:
                    return reply.status == 200
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                return False

        wait_until("mlflow models serve", answers, 180)
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/invocations", data=(IRIS / "serving_input_example.json").read_bytes(),
            headers={"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as reply:
            assert json.load(reply)["predictions"] == [0, 0, 0]
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()
