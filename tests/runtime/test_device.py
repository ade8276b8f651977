import pytest

from runtime.cuda.toolkit import Toolkit
from runtime.device import Driver, choose_device, needs_patches, unusable
from runtime.errors import UserError

NO_DRIVER = Driver(problem="there is no NVIDIA driver (libcuda.so.1)")
ONE_GPU = Driver(cuda=(12, 4), gpus=1)
NEW_GPU = Driver(cuda=(14, 0), gpus=8)
GOOD = Toolkit("/cuda/bin/nvcc", (12, 2), cudart="/cuda/lib64/libcudart.so", cudnn=8)


def choose(environ=(), driver=ONE_GPU, toolkits=(GOOD,)):
    return choose_device(dict(environ), lambda: driver, lambda environ: list(toolkits))


def kit(cuda=(12, 2), cudart="x", cudnn=8, nvcc="/cuda/bin/nvcc"):
    return Toolkit(nvcc, cuda, cudart, cudnn)


def test_a_gpu_with_cuda_12_and_cudnn_8_is_used():
    choice = choose()
    assert (choice.device, choice.nvcc_path, choice.idle_gpu) == ("cuda", "/cuda/bin/nvcc", False)


@pytest.mark.parametrize("cuda, cudnn, patched", [
    ((11, 2), 8, False), ((11, 8), 8, False), ((12, 2), 8, False), ((12, 8), 8, False),
    ((12, 8), 9, True), ((13, 0), 9, True), ((13, 2), 9, True),
])
def test_cuda_13_and_cudnn_9_are_used_through_the_patched_copy_older_ones_through_the_installed_jittor(cuda, cudnn, patched):
    choice = choose(driver=NEW_GPU, toolkits=[kit(cuda=cuda, cudnn=cudnn)])
    assert (choice.device, choice.nvcc_path, choice.patched) == ("cuda", "/cuda/bin/nvcc", patched)
    assert ("patched copy" in choice.reason) == patched


def test_the_installed_jittor_is_preferred_where_a_toolkit_allows_it():
    choice = choose(driver=NEW_GPU, toolkits=[kit(cuda=(13, 0), cudnn=9, nvcc="/new/nvcc"), kit(nvcc="/old/nvcc")])
    assert (choice.nvcc_path, choice.patched) == ("/old/nvcc", False)


def test_a_blackwell_gpu_is_not_given_to_a_toolkit_without_code_for_it():
    blackwell = Driver((13, 0), 1, capability=(12, 0))
    assert "compute capability 12.0" in unusable(kit(), blackwell)
    choice = choose(driver=blackwell, toolkits=[kit(nvcc="/old/nvcc"), kit(cuda=(13, 0), cudnn=9, nvcc="/new/nvcc")])
    assert (choice.nvcc_path, choice.patched) == ("/new/nvcc", True)


def test_a_volta_gpu_is_not_given_to_cuda_13():
    volta = Driver((13, 0), 1, capability=(7, 0))
    assert "7.5 is its first" in unusable(kit(cuda=(13, 0), cudnn=9), volta) and not unusable(kit(), volta)


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
    ([kit(cuda=(13, 0), cudnn=8)], "cuDNN 8, expected 9"),
    ([kit(cuda=(10, 2))], "CUDA 10.2"),
    ([kit(cuda=(14, 0), cudnn=9)], "CUDA 14.0"),
    ([kit(cudnn=10)], "cuDNN 10"),
    ([kit(cudnn=0)], "no cuDNN"),
    ([Toolkit("/cuda/bin/nvcc", (13, 0), "x", 9, missing=("curand",))], "no libcurand.so found for it (nvidia-curand)"),
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
    ({}, ONE_GPU, [kit(cuda=(13, 0), cudnn=9)], "the driver runs CUDA 12.4 at most"),
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
    mine = kit(cuda=(14, 0), cudnn=0, nvcc="/mine/nvcc")
    choice = choose({"nvcc_path": "/mine/nvcc"}, ONE_GPU, [mine])
    assert (choice.device, choice.nvcc_path, choice.patched) == ("cuda", "/mine/nvcc", True) and needs_patches(mine)


def test_a_users_nvcc_path_is_completed_with_the_wheels_where_they_help():
    whole = kit(cuda=(13, 0), cudnn=9, nvcc="/prefix/nvcc")
    choice = choose({"nvcc_path": "/mine/nvcc"}, NEW_GPU, [kit(cuda=(13, 0), cudnn=0, nvcc="/mine/nvcc"), whole])
    assert choice.nvcc_path == "/prefix/nvcc"


def test_a_users_nvcc_path_without_its_libraries_or_not_there_is_not_used():
    assert "libcudart" in choose({"nvcc_path": "/mine/nvcc"}, NEW_GPU, [kit(cudart="", nvcc="/mine/nvcc")]).reason
    assert "which does not run" in choose({"nvcc_path": "/mine/nvcc"}, NEW_GPU, []).reason
