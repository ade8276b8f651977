import pytest

from runtime.device import Driver, Toolkit, choose_device, cudnn_major, find_toolkits, inspect_toolkit
from runtime.errors import UserError

NO_DRIVER = Driver(problem="there is no NVIDIA driver (libcuda.so.1)")
ONE_GPU = Driver(cuda=(12, 4), gpus=1)
NEW_GPU = Driver(cuda=(13, 0), gpus=8)
GOOD = Toolkit("/cuda/bin/nvcc", (12, 2), cudart="/cuda/lib64/libcudart.so", cudnn=8)


def choose(environ=(), driver=ONE_GPU, toolkits=(GOOD,)):
    return choose_device(dict(environ), lambda: driver, lambda environ: list(toolkits))


def kit(cuda=(12, 2), cudart="x", cudnn=8, nvcc="/cuda/bin/nvcc"):
    return Toolkit(nvcc, cuda, cudart, cudnn)


def test_a_gpu_with_cuda_12_and_cudnn_8_is_used():
    choice = choose()
    assert (choice.device, choice.nvcc_path, choice.idle_gpu) == ("cuda", "/cuda/bin/nvcc", False)


def test_nvcc_on_path_without_a_driver_means_cpu_and_no_nvcc_for_jittor():
    choice = choose(driver=NO_DRIVER)
    assert (choice.device, choice.nvcc_path, choice.idle_gpu) == ("cpu", "", False)
    assert "no NVIDIA driver" in choice.reason


def test_without_a_gpu_no_toolkit_is_looked_for():
    def never(environ):
        raise AssertionError("asked for toolkits")
    assert choose_device({}, lambda: NO_DRIVER, never).device == "cpu"


@pytest.mark.parametrize("toolkits, why", [
    ([], "no CUDA toolkit"),
    ([kit(cuda=(13, 0))], "CUDA 13.0"),
    ([kit(cuda=(10, 2))], "CUDA 10.2"),
    ([kit(cudnn=9)], "cuDNN 9"),
    ([kit(cudnn=0)], "no cuDNN"),
    ([kit(cudart="")], "libcudart"),
])
def test_a_gpu_jittor_cannot_start_on_is_left_idle_with_the_reason_and_a_command(toolkits, why):
    choice = choose(driver=NEW_GPU, toolkits=toolkits)
    assert (choice.device, choice.nvcc_path, choice.idle_gpu) == ("cpu", "", True)
    assert why in choice.reason and "jittor_utils.install_cuda" in choice.reason and "\n" not in choice.reason


def test_a_toolkit_newer_than_the_driver_is_not_used():
    assert "the driver runs CUDA 11.4 at most" in choose(driver=Driver((11, 4), 1)).reason


def test_the_first_usable_toolkit_is_taken():
    choice = choose(driver=NEW_GPU, toolkits=[kit(cuda=(13, 0), nvcc="/new/nvcc"), kit(nvcc="/old/nvcc")])
    assert (choice.device, choice.nvcc_path) == ("cuda", "/old/nvcc")


def test_cpu_can_be_forced_without_asking_the_driver():
    def never():
        raise AssertionError("asked the driver")
    choice = choose_device({"IIDM_DEVICE": "cpu"}, never)
    assert (choice.device, choice.reason, choice.idle_gpu) == ("cpu", "IIDM_DEVICE=cpu", False)


@pytest.mark.parametrize("environ, driver, toolkits, why", [
    ({}, NO_DRIVER, [GOOD], "there is no NVIDIA driver"),
    ({}, Driver((12, 4), 0, "the NVIDIA driver shows no GPU"), [GOOD], "shows no GPU"),
    ({}, NEW_GPU, [kit(cuda=(13, 0))], "CUDA 13.0"),
    ({"nvcc_path": ""}, ONE_GPU, [GOOD], "nvcc_path is set to nothing"),
])
def test_cuda_forced_where_it_cannot_be_is_an_error_that_says_why(environ, driver, toolkits, why):
    with pytest.raises(UserError, match=f"IIDM_DEVICE is cuda, but .*{why}"):
        choose({"IIDM_DEVICE": "cuda", **environ}, driver, toolkits)


def test_an_unknown_device_is_an_error():
    with pytest.raises(UserError, match="IIDM_DEVICE is 'gpu', expected cpu or cuda"):
        choose({"IIDM_DEVICE": "gpu"})


def test_an_empty_nvcc_path_means_cpu():
    choice = choose({"nvcc_path": ""})
    assert (choice.device, choice.nvcc_path, choice.idle_gpu) == ("cpu", "", False)


def test_a_users_nvcc_path_is_taken_at_its_word():
    choice = choose({"nvcc_path": "/mine/nvcc"}, NEW_GPU, [kit(cuda=(13, 0), cudnn=9, nvcc="/mine/nvcc")])
    assert (choice.device, choice.nvcc_path) == ("cuda", "/mine/nvcc")


def test_a_users_nvcc_path_without_its_libraries_or_not_there_is_not_used():
    assert "libcudart" in choose({"nvcc_path": "/mine/nvcc"}, NEW_GPU, [kit(cudart="", nvcc="/mine/nvcc")]).reason
    assert "which does not run" in choose({"nvcc_path": "/mine/nvcc"}, NEW_GPU, []).reason


def fake_toolkit(folder, release="12.2", cudart=True, cudnn="8.9.7"):
    """A folder that looks like a CUDA toolkit; returns its nvcc."""
    (folder / "bin").mkdir(parents=True)
    (folder / "lib64").mkdir()
    nvcc = folder / "bin" / "nvcc"
    nvcc.write_text(f"#!/bin/sh\necho Cuda compilation tools, release {release}, V{release}.1\n")
    nvcc.chmod(0o755)
    if cudart:
        (folder / "lib64" / "libcudart.so").touch()
    if cudnn:
        (folder / "lib64" / f"libcudnn.so.{cudnn}").touch()
        (folder / "lib64" / "libcudnn.so").symlink_to(f"libcudnn.so.{cudnn}")
    return str(nvcc)


def test_a_toolkit_folder_is_read_as_jittor_reads_it(tmp_path):
    nvcc = fake_toolkit(tmp_path / "cuda")
    assert inspect_toolkit(nvcc) == Toolkit(nvcc, (12, 2), str(tmp_path / "cuda/lib64/libcudart.so"), 8)


def test_an_nvcc_that_prints_nonsense_is_no_toolkit(tmp_path):
    nvcc = tmp_path / "nvcc"
    nvcc.write_text("#!/bin/sh\necho hello\n")
    nvcc.chmod(0o755)
    assert inspect_toolkit(str(nvcc)) is None and inspect_toolkit(str(tmp_path / "absent")) is None


def test_toolkits_are_found_in_jittors_cache_first_then_on_the_path(tmp_path):
    cached = fake_toolkit(tmp_path / ".cache/jittor/jtcuda/cuda12.2_cudnn8_linux")
    on_path = fake_toolkit(tmp_path / "other", release="13.0")
    environ = {"JITTOR_HOME": str(tmp_path), "PATH": str(tmp_path / "other/bin")}
    assert [kit.nvcc for kit in find_toolkits(environ)][:2] == [cached, on_path]
    assert [kit.nvcc for kit in find_toolkits({**environ, "nvcc_path": on_path})] == [on_path]


def test_cudnn_is_absent_or_named_by_its_real_file(tmp_path):
    assert cudnn_major([str(tmp_path)]) == 0
    (tmp_path / "libcudnn.so.9.1.0").touch()
    (tmp_path / "libcudnn.so").symlink_to("libcudnn.so.9.1.0")
    assert cudnn_major([str(tmp_path / "absent"), str(tmp_path)]) == 9
