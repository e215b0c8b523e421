"A second device on a machine without one: real tensors, marked, with the errors that a real second device would give."

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten

NAME = "mps"  # a device that PyTorch can name everywhere, and that knows no double precision

MIXED_IS_FINE = {
    "copy_",
    "__setitem__",
    "to",
    "__get__",
    "__set__",
    "type_as",
    "view_as",
    "expand_as",
    "reshape_as",
    "set_",
    "is_",
    "_has_compatible_shallow_copy_type",
}
HOST_ONLY = {"numpy", "__array__"}
FACTORIES = {"tensor", "as_tensor", "asarray"}


def is_second(value):
    return isinstance(value, Tensor) and getattr(value, "_second_device", False)


def names_second(value):
    return (
        value is not None
        and not isinstance(value, (Tensor, bool, int, float, torch.dtype))
        and str(value).split(":")[0] == NAME
    )


def mark(result, second):
    for part in tree_flatten(result)[0]:
        if isinstance(part, Tensor):
            if second and part.dtype == torch.float64:
                raise TypeError(
                    "Cannot convert a second-device Tensor to float64 dtype: the device knows no double precision"
                )
            part._second_device = second
    return result


class SecondDevice(TorchFunctionMode):
    """Within: tensors made on, or moved to, `device` are marked, and an operation on a marked and an unmarked one
    fails.

    As on a real device, a scalar tensor of the host may join, positions on the host may index, `copy_` crosses over,
    and `.numpy()` needs `.cpu()` first. `operations` counts what ran on marked tensors: a test that never got there
    proves nothing."""

    device = torch.device(NAME)

    def __init__(self):
        super().__init__()
        self.operations = 0

    def __enter__(self):
        copied = self._copied = torch.nn.Parameter.__deepcopy__  # makes its tensor where no mode can see it
        torch.nn.Parameter.__deepcopy__ = lambda parameter, memo: mark(copied(parameter, memo), is_second(parameter))
        return super().__enter__()

    def __exit__(self, *error):
        torch.nn.Parameter.__deepcopy__ = self._copied
        return super().__exit__(*error)

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        tensors = [part for part in tree_flatten((args, kwargs))[0] if isinstance(part, Tensor)]
        if name == "__get__" and args and "device" in str(getattr(func, "__self__", "")):
            return self.device if is_second(args[0]) else func(*args, **kwargs)
        if name == "__set__":
            result = func(*args, **kwargs)
            if isinstance(args[1], Tensor):
                args[0]._second_device = is_second(args[1])
            return result
        if name == "__deepcopy__":
            return mark(func(*args, **kwargs), is_second(args[0]))  # the memo holds other tensors
        if name in HOST_ONLY and is_second(args[0]):
            raise TypeError(
                "can't convert a second-device tensor to numpy. Use Tensor.cpu() to copy the tensor to host memory "
                "first."
            )
        if name in ("to", "cpu", "cuda"):
            return self._move(func, name, args, kwargs)
        if names_second(kwargs.get("device")):
            if kwargs.get("generator") is not None:
                raise RuntimeError("Expected a 'mps' device type for generator but found 'cpu'")
            if name in FACTORIES or not tensors:
                return mark(func(*args, **{**kwargs, "device": "cpu"}), True)
            return mark(func(*args, **{**kwargs, "device": "cpu"}), True)
        second = any(is_second(tensor) for tensor in tensors)
        if second:
            self._refuse_mixed(name, args, tensors)
            self.operations += 1
        result = func(*args, **kwargs)
        return (
            mark(result, True)
            if second and not (isinstance(result, Tensor) and kwargs.get("device") is not None)
            else result
        )

    def _move(self, func, name, args, kwargs):
        tensor = args[0]
        targets = [value for value in [*args[1:], *kwargs.values()] if isinstance(value, (str, torch.device, Tensor))]
        like = next((value for value in targets if isinstance(value, Tensor)), None)
        wanted = names_second(next((value for value in targets if not isinstance(value, Tensor)), None)) or is_second(
            like
        )
        stays = name == "to" and not targets
        second = is_second(tensor) if stays else wanted

        def host(value):
            return torch.device("cpu") if names_second(value) else value

        result = func(tensor, *(host(v) for v in args[1:]), **{k: host(v) for k, v in kwargs.items()})
        if result is tensor and second != is_second(tensor):
            result = tensor.clone()
        return mark(result, second)

    def _refuse_mixed(self, name, args, tensors):
        if name in MIXED_IS_FINE:
            return
        if name in ("__getitem__", "index_select") and is_second(args[0]):
            return  # positions may lie on the host
        for tensor in tensors:
            if not is_second(tensor) and tensor.ndim > 0:
                raise RuntimeError(
                    f"Expected all tensors to be on the same device, but {name} got one of {tuple(tensor.shape)} on "
                    "the cpu"
                )
