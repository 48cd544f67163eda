"""The table of TF Serving's flags, and what is held against it."""

import re
from pathlib import Path

import pytest

from crater_model.errors import ConfigError
from crater_model.serving import flags
from crater_model.serving.__main__ import main

ROOT = Path(__file__).resolve().parents[2]
# Where commands of tensorflow_model_server may stand.
PLACES = [ROOT / "Dockerfile.serving", *sorted((ROOT / "deploy").rglob("*.*")),
          ROOT / "docs" / "serving.md", ROOT / "benchmarks" / "serving_sides.py",
          *sorted((ROOT / "tests" / "serving").rglob("*.py")), ROOT / "tests" / "test_deploy.py"]
# A flag of it has no hyphen but in front; those of other programs with an underscore are named.
FLAG = re.compile(r"(?<![\w-])--([a-z][a-z0-9]*(?:_[a-z0-9]+)+)(?![\w-])")
OTHERS = {"--max_batchsize", "--no_such_flag"}


def test_the_table_is_that_of_2_20_0():
    """48 flags in main.cc; those that this project rests on, with the defaults of server.h."""
    assert len(flags.FLAGS) == 48
    assert flags.FLAGS["port"] == 8500 and flags.FLAGS["rest_api_port"] == 0
    assert flags.FLAGS["rest_api_timeout_in_ms"] == 30_000
    assert flags.FLAGS["max_num_load_retries"] == 5
    assert flags.FLAGS["enable_model_warmup"] is True
    assert flags.FLAGS["enable_batching"] is False
    assert not {"batch_size", "host", "model_version_policy"} & set(flags.FLAGS)


def test_every_flag_that_is_named_anywhere_is_known():
    found = {}
    for file in PLACES:
        for match in FLAG.finditer(file.read_text()):
            found.setdefault(match[1], file)
    assert {"rest_api_port", "enable_batching", "grpc_channel_arguments"} <= set(found)
    unknown = {name: str(file) for name, file in found.items()
               if name not in flags.FLAGS and f"--{name}" not in OTHERS}
    assert not unknown


def test_how_flags_are_read():
    found = flags.parse(["--port=1", "--enable_batching", "--model_name=a=b", "--port=2",
                         "--enable_model_warmup=false", "--per_process_gpu_memory_fraction=0.5"])
    assert (found["port"], found["model_name"]) == (2, "a=b")
    assert (found["enable_batching"], found["enable_model_warmup"]) == (True, False)
    assert found["per_process_gpu_memory_fraction"] == 0.5
    assert flags.parse([]) == flags.FLAGS


@pytest.mark.parametrize("arguments, words", [
    (["--host=127.0.0.1"], "unknown argument: --host=127.0.0.1"),
    (["--port", "8500"], "unknown argument: --port; expected --port=VALUE"),
    (["-port=8500"], "unknown argument"), (["8500"], "unknown argument"),
    (["--no_such_flag"], "unknown argument: --no_such_flag"),
    (["--port=x"], "Couldn't interpret value 'x' for flag port, expected int"),
    (["--enable_batching=1"], "Couldn't interpret value '1' for flag enable_batching")])
def test_what_is_no_flag_is_refused(arguments, words, capsys):
    with pytest.raises(ConfigError, match=re.escape(words)):
        flags.parse(arguments)
    assert main(arguments) == 1 and words in capsys.readouterr().err


@pytest.mark.parametrize("arguments, words", [
    ([], "give --model_config_file or --model_base_path"),
    (["--model_config_file=/nowhere"], "/nowhere: no such file"),
    (["--model_base_path=/x", "--batching_parameters_file=" + __file__],
     "--batching_parameters_file is given without --enable_batching"),
    (["--model_base_path=/x", "--port=0"], "--port: 0, expected a port"),
    (["--model_base_path=/x", "--ssl_config_file=/x"], "--ssl_config_file: TF Serving knows"),
    (["--model_base_path=/x", "--grpc_channel_arguments=a"], "a: expected KEY=VALUE")])
def test_what_a_server_cannot_start_with(arguments, words, capsys):
    assert main(arguments) == 1 and words in capsys.readouterr().err


def test_rest_and_tensor_content_do_not_go_together(blob_model, capsys):
    """TF Serving starts with both, and the first predict request over REST takes it down."""
    assert main([f"--model_base_path={blob_model}", "--rest_api_port=8501",
                 "--enable_serialization_as_tensor_content"]) == 1
    assert "taken down by the first predict request over REST" in " ".join(
        capsys.readouterr().err.split())
