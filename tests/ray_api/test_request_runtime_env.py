"""What a runtime environment may hold, and by which name the rest is refused."""

import pytest

from tests.ray_api.asking import read, refusal


def test_packages_are_found_wherever_they_are_named():
    env = {
        "working_dir": "gcs://_ray_pkg_aa.zip",
        "py_modules": ["gcs://_ray_pkg_bb.zip", "gcs://my_lib-1.0+x-py3-none-any.whl"],
        "pip": {"packages": ["numpy"], "pip_check": False},
        "uv": ["torch"],
        "conda": {"dependencies": ["python"]},
        "env_vars": {"A": "b"},
        "excludes": ["*.bin"],
        "config": {"setup_timeout_seconds": 60},
    }
    parsed = read(runtime_env=env)
    assert parsed.packages == (
        "_ray_pkg_aa.zip",
        "_ray_pkg_bb.zip",
        "my_lib-1.0+x-py3-none-any.whl",
    )
    assert parsed.request.runtime_env == env


def test_an_https_working_dir_needs_no_upload():
    parsed = read(runtime_env={"working_dir": "https://example.org/code.zip"})
    assert parsed.packages == ()


@pytest.mark.parametrize(
    ("env", "field", "words"),
    [
        ({"working_dir": "file:///etc"}, "working_dir", "site's own disk"),
        ({"working_dir": "local:///etc"}, "working_dir", "site's own disk"),
        ({"working_dir": "http://example.org/a.zip"}, "working_dir", "https://"),
        ({"working_dir": "s3://bucket/a.zip"}, "working_dir", "https://"),
        ({"working_dir": "."}, "working_dir", "https://"),
        ({"working_dir": "gcs://../../etc/passwd"}, "working_dir", "https://"),
        ({"working_dir": 5}, "working_dir", "string"),
        ({"py_modules": ["file:///etc"]}, "py_modules.0", "site's own disk"),
        ({"py_modules": "gcs://x.zip"}, "py_modules", "list"),
        ({"py_modules": ["gcs://x.zip"] * 101}, "py_modules", "100"),
        ({"container": {"image": "x"}}, "container", "isolated"),
        ({"image_uri": "x"}, "image_uri", "image"),
        ({"py_executable": "/bin/sh"}, "py_executable", "started"),
        ({"worker_process_setup_hook": "m.f"}, "worker_process_setup_hook", "not allowed"),
        ({"working_dri": "gcs://x.zip"}, "working_dri", "did you mean 'working_dir'?"),
        ({"pip": "requirements.txt"}, "pip", "path"),
        ({"pip": {"packages": "requirements.txt"}}, "pip", "path"),
        ({"pip": [1]}, "pip", "strings"),
        ({"uv": 1}, "uv", "strings"),
        ({"conda": "/site/env"}, "conda", "path"),
        ({"conda": 1}, "conda", "object"),
        ({"env_vars": {"A": 1}}, "env_vars", "strings"),
        ({"env_vars": {"A=B": "1"}}, "env_vars", "names no variable"),
        ({"env_vars": {"": "1"}}, "env_vars", "names no variable"),
        ({"env_vars": {"RAY_AUTH_TOKEN": "1"}}, "env_vars.RAY_AUTH_TOKEN", "itself"),
        ({"env_vars": {"COMMONPOOL_RUN": "1"}}, "env_vars.COMMONPOOL_RUN", "itself"),
        ({"env_vars": {"A": "x" * 200_000}}, "env_vars", "131072"),
        ({"excludes": "x"}, "excludes", "strings"),
        ({"config": []}, "config", "object"),
        ({"config": {"x": "y" * 300_000}}, "", "too large"),
    ],
)
def test_what_a_shared_site_cannot_allow_is_refused_by_name(env, field, words):
    refused = refusal(runtime_env=env)
    assert refused.status == 400
    assert refused.field == ".".join(filter(None, ("runtime_env", field)))
    assert words in refused.sentence()


def test_null_entries_of_the_runtime_env_are_dropped():
    assert read(runtime_env={"pip": None, "container": None}).request.runtime_env == {}
