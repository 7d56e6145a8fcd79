"""Loading of vision-language models with transformers: safetensors only, no remote code, pinned revision."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES, processor_class_from_name

from prefgen.engines import adapters, model_files, templates
from prefgen.engines.adapters import Adapter
from prefgen.engines.base import Dtype, EngineConfig
from prefgen.engines.hf import probing
from prefgen.engines.hf.architectures import Family
from prefgen.engines.hf.probing import Readout
from prefgen.errors import ModelUnreachable, UsageError

_HOST_TOKENS = 32768
_TEMPLATED = " with chat template "
# A weight file larger than this is known by its size, its beginning and its end.
_HASH_WHOLE_BYTES = 64 * 2**20


@dataclass(frozen=True)
class LoadedModel:
    """A model with its processor, family and device.

    Attributes:
        model: an image-text-to-text model in eval mode.
        revision: what pins it, see `pin`.
        adapter: that was not merged into the model, to be attached where it is trained; None: there is none.
    """

    model: Any
    processor: Any
    family: Family
    name: str
    revision: str
    device: torch.device
    dtype: torch.dtype
    adapter: Adapter | None = None

    @property
    def is_spread(self) -> bool:
        """True if its layers are on several devices."""
        return len(set(getattr(self.model, "hf_device_map", {}).values())) > 1

    @property
    def weights_revision(self) -> str:
        """The revision of the weights alone, of an adapter its base's."""
        return self.revision.partition(_TEMPLATED)[0].rpartition(" on ")[2]

    @cached_property
    def image_token_id(self) -> int:
        """Id of the placeholder token of one image feature."""
        found = probing.image_token_id(self.model.config)
        assert found is not None  # see `probing.why_not`
        return found

    @cached_property
    def image_token(self) -> str:
        """The placeholder token as text."""
        return spell(self.processor, self.image_token_id)

    @cached_property
    def hidden_size(self) -> int:
        """Width of the language model's input."""
        return int(self.model.config.get_text_config().hidden_size)

    @cached_property
    def vocabulary_size(self) -> int:
        """Number of logits: of the output layer, which in some models has no rows for image tokens."""
        size = self.model.config.get_text_config().vocab_size
        return int(getattr(self.model.get_output_embeddings(), "out_features", size))

    @cached_property
    def longest(self) -> int:
        """Tokens of the longest sequence that the language model has positions for."""
        return int(getattr(self.model.config.get_text_config(), "max_position_embeddings", 0) or 2**31)

    @cached_property
    def window(self) -> int | None:
        """Size in tokens of the smallest sliding attention window; None without one."""
        config = self.model.config.get_text_config()
        kinds = getattr(config, "layer_types", None) or ["sliding_attention"]
        sizes = {"sliding_attention": "sliding_window", "chunked_attention": "attention_chunk_size"}
        windows = [getattr(config, name, None) for kind, name in sizes.items() if kind in kinds]
        return min((int(window) for window in windows if window), default=None)

    @cached_property
    def readout(self) -> Readout:
        """The steps from its output layer, which training calls by itself, to its logits."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.dtype == torch.bfloat16):
            return probing.readout(self.model)  # weights that are trained are float32

    @cached_property
    def eos_ids(self) -> set[int]:
        """Ids of all tokens that end an answer, from the generation configuration and the tokenizer."""
        configured = self.model.generation_config.eos_token_id
        ids = set(configured) if isinstance(configured, list) else {configured}
        return {int(token) for token in {*ids, self.processor.tokenizer.eos_token_id} if token is not None}


def load(config: EngineConfig, quantization: Any = None, *, merge: bool = True) -> LoadedModel:
    """Load a model from a folder or the Hub, after checking that its architecture is supported.

    Args:
        quantization: how transformers quantises its weights; None: not.
        merge: merge an adapter into its base; else the base alone is loaded, see `LoadedModel.adapter`.

    Raises:
        UsageError: for an architecture that is not supported.
        ModelUnreachable: if it cannot be read.
    """
    device = resolve_device(config.device)
    dtype = getattr(torch, torch_dtype(config.dtype, device))
    settings = read_config(config)
    family = probing.listed(settings, config.model)
    processor = load_processor(config, settings)
    adapter, base = adapters.find(config), adapters.base_of(config)
    model_files.check_weights(base.model)
    placed = placement(config) if quantization is None else {"device_map": {"": device}}
    with model_files.loading(f"model {base.model} cannot be loaded"):
        model = transformers.AutoModelForImageTextToText.from_pretrained(
            base.model,
            config=settings,
            revision=base.revision,
            trust_remote_code=config.trust_remote_code,
            dtype=dtype,
            use_safetensors=True,
            quantization_config=quantization,
            **placed,
        )
    revision = pin(config, settings)
    if not placed:
        model.to(device)
    if adapter and merge:
        model, adapter = adapters.merged(model, adapter), None
    family = probing.completed(family, model.eval(), processor)
    return LoadedModel(model, processor, family, config.model, revision, torch.device(device), dtype, adapter)


def save_merged(config: EngineConfig, folder: Path) -> None:
    """Save an adapter's base with the adapter merged into it, and the processor, in the data type of its device."""
    device = resolve_device(config.device)
    dtype: Any = torch_dtype(config.dtype, device)
    loaded = load(dataclasses.replace(config, device="cpu", dtype=dtype))
    loaded.model.save_pretrained(folder)
    loaded.processor.save_pretrained(folder)


def placement(config: EngineConfig) -> dict[str, Any]:
    """Arguments by which transformers spreads a model's layers over the first GPUs; none for one device.

    Raises:
        UsageError: there are fewer GPUs, or one device is asked for.
    """
    count = config.gpus_per_worker
    if count == 1:
        return {}
    if config.device not in ("auto", "cuda"):
        raise UsageError(f"--device {config.device} is one device, but --gpus-per-worker is {count}: give auto or cuda")
    if count > torch.cuda.device_count():
        raise UsageError(f"--gpus-per-worker {count}: there are {torch.cuda.device_count()} GPUs here")
    free = {index: int(0.9 * torch.cuda.mem_get_info(index)[0]) for index in range(count)}
    return {"device_map": "balanced", "max_memory": free}


def read_config(config: EngineConfig) -> Any:
    """The model's configuration; for an adapter, that of its base.

    Raises:
        ModelUnreachable: if it cannot be read.
    """
    base = adapters.base_of(config)
    of = "" if base is config else f", the base of adapter {config.model} (another one: --base-model),"
    model_files.check_layout(base.model, of)
    here = "" if Path(base.model).is_dir() else " (there is no folder of that name)"
    with model_files.reading(f"model {base.model}{here}{of} cannot be loaded"):
        settings, _ = transformers.PretrainedConfig.get_config_dict(base.model, revision=base.revision)
        model_files.check_config(base.model, settings, trusted=base.trust_remote_code)
        found = transformers.AutoConfig.from_pretrained(
            base.model, revision=base.revision, trust_remote_code=base.trust_remote_code
        )
        if (token_id := probing.image_token_id(found)) is not None and token_id < 0:
            raise ValueError(f"its configuration names the image token {token_id}")
        return found


def load_processor(config: EngineConfig, settings: Any = None) -> Any:
    """The model's processor, with padding on the left: LLaVA-NeXT generates garbage with right padding.

    Args:
        settings: the model's configuration, if it was read already.

    Raises:
        ModelUnreachable: if it cannot be read.
    """
    settings = settings or read_config(config)
    config = adapters.processor_source(config)
    source = {"revision": config.revision, "trust_remote_code": config.trust_remote_code}
    with model_files.reading(f"the processor of model {config.model} cannot be loaded"):
        try:
            processor = transformers.AutoProcessor.from_pretrained(config.model, **source)
        except ImportError:  # most likely torchvision, without which videos cannot be read; nothing here reads any
            processor = _without_video(config.model, settings.model_type, source)
        if not hasattr(processor, "image_processor"):
            raise ModelUnreachable(
                f"model {config.model} has a {type(processor).__name__} and no processor for pictures: "
                "processor_config.json or preprocessor_config.json is missing"
            )
        _complete(processor, settings)
        if config.chat_template is not None:
            processor.chat_template = templates.read(config.chat_template)
        processor.tokenizer.padding_side = "left"
    return processor


def _complete(processor: Any, config: Any) -> None:
    """Set what processors saved before 2025 lack, from the model's configuration: the number of tokens of an image."""
    if not hasattr(processor, "patch_size") or not hasattr(processor, "vision_feature_select_strategy"):
        return
    if processor.vision_feature_select_strategy is None:
        processor.vision_feature_select_strategy = config.vision_feature_select_strategy
    if processor.patch_size is None:
        processor.patch_size = config.vision_config.patch_size
        if processor.vision_feature_select_strategy == "default":  # leaves out the first feature, which is no patch
            processor.num_additional_image_tokens = 1


def _without_video(name: str, kind: str, source: dict[str, Any]) -> Any:
    """A processor built from its parts, without the one for videos."""
    processor_class = processor_class_from_name(PROCESSOR_MAPPING_NAMES[kind])
    settings, _ = processor_class.get_processor_dict(name, **source)
    loaders = {
        "tokenizer": transformers.AutoTokenizer.from_pretrained,
        "image_processor": transformers.AutoImageProcessor.from_pretrained,
        "video_processor": lambda *_, **__: None,
    }
    parts = [loaders[attribute](name, **source) for attribute in processor_class.get_attributes()]
    return pictures_only(processor_class).from_args_and_dict(parts, settings)


def pictures_only(processor_class: Any) -> Any:
    """A subclass of a processor of pictures and videos that accepts None for the video part."""
    parts = [attribute for attribute in processor_class.get_attributes() if attribute != "video_processor"]
    members = {
        "get_attributes": classmethod(lambda _: parts),
        "video_processor": _NoVideo(),
        "__reduce__": lambda self: (_pictures_only_restored, (processor_class, self.__dict__)),
    }
    return type(processor_class.__name__, (processor_class, _PartsThatAreThere), members)


class _NoVideo:
    """Stands for the video part: processors read its settings even without a video."""

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)


class _PartsThatAreThere(transformers.ProcessorMixin):  # type: ignore[misc]  # transformers has no types
    """The base of a processor that passes only the parts that exist to `__init__`; some pass the video part first."""

    def __init__(self, *parts: Any, **settings: Any) -> None:
        super().__init__(
            *(part for part in parts if part is not None),
            **{name: value for name, value in settings.items() if name != "video_processor"},
        )


def _pictures_only_restored(processor_class: Any, state: dict[str, Any]) -> Any:
    """Unpickle such a processor in another process."""
    made = object.__new__(pictures_only(processor_class))
    made.__dict__.update(state)
    return made


def unweighted(settings: Any) -> Any:
    """A model of this configuration whose weights have shapes alone."""
    with model_files.BUILDING, torch.device("meta"):
        return transformers.AutoModelForImageTextToText.from_config(settings)


def processor_and_image_token(config: EngineConfig) -> tuple[Any, str]:
    """The model's processor, and the placeholder of one image feature as text; no weight is loaded.

    Raises:
        UsageError: if the model cannot be used. ModelUnreachable: if it cannot be read.
    """
    settings = read_config(config)
    probing.listed(settings, config.model)
    token_id = probing.image_token_id(settings)
    assert token_id is not None  # see `probing.why_not`
    processor = load_processor(config, settings)
    return processor, spell(processor, token_id)


def spell(processor: Any, token_id: int) -> str:
    """A token as text."""
    return str(processor.tokenizer.convert_ids_to_tokens(token_id))


def token_budget(loaded: LoadedModel) -> int:
    """Number of tokens whose keys and values a batch may hold: a third of the memory that the weights leave.

    By the device's size, not by what is free, so that a resumed run has the same batches. A third, since they are
    copied when the batch changes, and prompts are read beside them.
    """
    if loaded.device.type != "cuda":
        return _HOST_TOKENS
    weights = sum(weight.numel() * weight.dtype.itemsize for weight in loaded.model.parameters())
    gpus = {weight.device for weight in loaded.model.parameters()}
    room = 0.9 * sum(torch.cuda.get_device_properties(gpu).total_memory for gpu in gpus) - weights
    return max(1, int(room / 3 / kv_bytes(loaded.model.config, loaded.dtype)))


def kv_bytes(config: Any, dtype: torch.dtype) -> int:
    """Bytes of keys and values per token, over all layers of a model with this configuration."""
    text = config.get_text_config()
    size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    return int(2 * text.num_hidden_layers * heads * size * dtype.itemsize)


def resolve_device(device: str) -> str:
    """The device that ``auto`` stands for: the GPU if there is one."""
    if device != "auto":
        return device
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def device_kind(device: str) -> str:
    """A device's type, without its index."""
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else device


def torch_dtype(dtype: Dtype, device: str) -> str:
    """Name of the data type that ``auto`` stands for: bfloat16 on GPUs, those of Apple from macOS 14 on."""
    if dtype != "auto":
        return dtype
    if device.startswith("mps") and not torch.backends.mps.is_macos_or_newer(14, 0):
        return "float32"
    return "float32" if device == "cpu" else "bfloat16"


def pin(config: EngineConfig, settings: Any = None) -> str:
    """The identity of a configuration's model: its revision; for an adapter, followed by ``on`` and its base's.

    A chat template in place of the model's own follows, by its digest.

    Args:
        settings: the configuration of the model, of an adapter its base's, if it was read already.

    Raises:
        UsageError: the chat template cannot be read. ModelUnreachable: there is no such model.
    """
    adapter, base = adapters.find(config), adapters.base_of(config)
    pinned = revision_of(base.model, base.revision, settings)
    if adapter:
        pinned = f"{adapter.commit or revision_of(adapter.name, adapter.revision)} on {pinned}"
    if config.chat_template is None:
        return pinned
    digest = hashlib.sha256(templates.read(config.chat_template).encode()).hexdigest()
    return f"{pinned}{_TEMPLATED}sha256:{digest}"


def revision_of(name: str, revision: str | None = None, settings: Any = None) -> str:
    """A model's revision: the Hub's commit, or ``sha256:`` and a digest of a local folder.

    Args:
        settings: its configuration, if it was read already.

    Raises:
        ModelUnreachable: if there is no such model.
    """
    model_files.find(name)
    if Path(name).is_dir():
        with model_files.reading(f"model {name} cannot be loaded"):
            return f"sha256:{digest_folder(Path(name))}"
    settings = settings or read_config(EngineConfig(name, revision=revision))
    return str(settings._commit_hash)


def digest_folder(folder: Path) -> str:
    """SHA-256 over names and contents of a model's files; of very large files only size, first and last 64 MiB."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.is_file() and path.suffix != ".md"):
        size = path.stat().st_size
        digest.update(f"{path.name}\x1f{size}\x1f".encode())
        with path.open("rb") as file:
            digest.update(file.read(_HASH_WHOLE_BYTES))
            if size > _HASH_WHOLE_BYTES:
                file.seek(max(_HASH_WHOLE_BYTES, size - _HASH_WHOLE_BYTES))
                digest.update(file.read())
    return digest.hexdigest()


def cache_argument(model: Any, cache: Any) -> dict[str, Any]:
    """The key/value cache as a keyword argument of the model's forward pass, under the model's own name for it."""
    return {_cache_name(model.__class__): cache}


@functools.cache
def _cache_name(model_class: type) -> str:
    return "cache" if "cache" in inspect.signature(model_class.forward).parameters else "past_key_values"  # type: ignore[attr-defined]  # every model has one


def cache_of(output: Any) -> Any:
    """The key/value cache that a forward pass returned, under either name."""
    return output["cache"] if "cache" in output else output["past_key_values"]
