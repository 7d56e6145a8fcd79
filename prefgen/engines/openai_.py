"""The engine for served models: chat completions of an OpenAI-compatible server.

For methods that show a model whole pictures: nothing can be hidden behind this interface, but noise can be added to the
pixels before they are sent. Continuing a given beginning is an extension of vLLM's server.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

import numpy as np
import openai
import PIL.Image

from prefgen import addresses, images, seeds, visibility
from prefgen.engines.base import EngineConfig
from prefgen.engines.hf import sampling
from prefgen.errors import ModelUnreachable, RowError, UsageError
from prefgen.records import Image, Part
from prefgen.requests import Completion, Finish, Generate, Reply, Request
from prefgen.visibility import View

_RETRIES = 4  # by the SDK, with growing pauses
# What is wrong with one request; every other answer of a server concerns them all.
_REFUSALS = (openai.BadRequestError, openai.UnprocessableEntityError)


def refuse(view: View) -> None:
    """Refuse views that a server cannot apply.

    Raises:
        UsageError: naming what can be done instead.
    """
    if view.masks:
        raise UsageError(
            "--engine openai sends whole pictures, so no image token can be masked; use --engine vllm or transformers "
            "for that, or --variant noise --noise-space pixel-clamp here"
        )
    if view.noise_steps and view.noise_space == "encoder":
        raise UsageError(
            "--noise-space encoder is noise on what the vision encoder receives, which a server makes itself; "
            "use --noise-space pixel-clamp, or --engine vllm or transformers"
        )


class OpenAIEngine:
    """Answers `Generate` requests, `batch_size` at a time."""

    def __init__(self, client: openai.OpenAI, config: EngineConfig, *, is_vllm: bool) -> None:
        self._client = client
        self._model = config.model
        self._is_vllm = is_vllm
        self._threads = ThreadPoolExecutor(config.batch_size)
        self._running: dict[Future[Reply | RowError], int] = {}

    @classmethod
    def connect(cls, config: EngineConfig) -> OpenAIEngine:
        """List the server's models. Local servers need no key.

        Raises:
            ModelUnreachable: if it does not answer, or does not serve this model.
            UsageError: if the key cannot be one.
        """
        client = openai.OpenAI(
            base_url=config.base_url,
            api_key=addresses.key(config.engine_key_env) or "EMPTY",
            timeout=config.engine_timeout,
            max_retries=_RETRIES,
        )
        return cls(client, config, is_vllm=served(client, config).owned_by == "vllm")

    def submit(self, ticket: int, request: Request) -> None:
        """Send a request as soon as a connection is free.

        Raises:
            UsageError: for a view or a beginning that this server cannot be given.
        """
        if not isinstance(request, Generate):
            raise TypeError(f"this engine answers Generate requests, not {type(request).__name__}")
        refuse(request.view)
        if request.prefix and not self._is_vllm:
            raise UsageError(
                "only vLLM's server continues a given beginning of an answer; use --no-guidance, or serve with vLLM"
            )
        self._running[self._threads.submit(self._answer, request)] = ticket

    def collect(self) -> list[tuple[int, Reply | RowError]]:
        """The answered requests; waits for the first.

        Raises:
            ModelUnreachable: if the server is gone, or refuses everything.
        """
        if not self._running:
            return []
        done, _ = wait(self._running, return_when=FIRST_COMPLETED)
        try:
            return [(self._running.pop(future), future.result()) for future in done]
        except (openai.OpenAIError, ModelUnreachable) as error:
            self._threads.shutdown(wait=False, cancel_futures=True)
            raise ModelUnreachable(f"{self._client.base_url} failed: {error}") from error

    def _answer(self, request: Generate) -> Reply | RowError:
        try:
            return self._complete(request)
        except _REFUSALS as error:
            return RowError("SERVER_REFUSED", str(error)[:500])

    def _complete(self, request: Generate) -> Completion:
        """Stream the answer and stop where the sentence ends."""
        generated, tokens, prefix = "", 0, request.prefix.rstrip(" ")
        finish: Finish | None = None
        with self._client.chat.completions.create(**self._body(request, prefix)) as stream:
            for chunk in stream:
                if chunk.usage:
                    tokens = chunk.usage.completion_tokens
                for choice in chunk.choices:
                    generated += choice.delta.content or ""
                    if choice.finish_reason:
                        finish = "eos" if choice.finish_reason == "stop" else "length"
                if sampling.find_end(request, prefix, generated, final=False) is not None:
                    finish = "stop"
                    break
        if finish is None:
            raise ModelUnreachable("an answer broke off")
        end = sampling.find_end(request, prefix, generated, final=True)
        # How many tokens a picture takes is the server's secret.
        return Completion(generated[: None if end is None else end - len(prefix)], finish, tokens, 0, 0)

    def _body(self, request: Generate, prefix: str) -> dict[str, Any]:
        pictures = (_picture(image, index, request.view) for index, image in enumerate(request.images))
        messages: list[dict[str, Any]] = [
            {"role": turn.role, "content": [_part(part, pictures) for part in turn.parts]} for turn in request.prompt
        ]
        options: dict[str, Any] = {"include_usage": True}
        extra: dict[str, Any] = {}
        if prefix:
            messages.append({"role": "assistant", "content": prefix})
            extra = {"continue_final_message": True, "add_generation_prompt": False}
        if self._is_vllm:
            options["continuous_usage_stats"] = True  # the stream may be closed before its end
        return {
            "model": self._model,
            "messages": messages,
            "max_completion_tokens": request.sampling.max_new_tokens,
            "temperature": request.sampling.temperature,
            "top_p": request.sampling.top_p,
            "seed": request.seed >> 1,  # a signed 64-bit number over there
            "stream": True,
            "stream_options": options,
            "extra_body": extra,
        }


def served(client: openai.OpenAI, config: EngineConfig) -> Any:
    """The server's description of the model.

    Raises:
        ModelUnreachable: if it does not answer, or does not serve it.
    """
    try:
        models = {model.id: model for model in client.models.list()}
    except openai.OpenAIError as error:
        raise ModelUnreachable(f"no OpenAI-compatible server answers at {config.base_url}: {error}") from error
    if config.model not in models:
        names = ", ".join(sorted(models)[:10])
        raise ModelUnreachable(f"{config.base_url} does not serve {config.model!r}; it serves {names}")
    return models[config.model]


def _part(part: Part, pictures: Iterator[str]) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    return {"type": "image_url", "image_url": {"url": next(pictures)}}


def _picture(image: Image, index: int, view: View) -> str:
    """The picture as every engine uses it, upright, RGB and with the view's noise, as a data URI."""
    picture = images.decode(image)
    if view.noise_steps:
        noise_seed = seeds.derive(view.noise_seed, "", index, "image")
        noisy = visibility.add_pixel_noise(
            np.asarray(picture), view.noise_steps, noise_seed, view.noise_space, view.schedule
        )
        picture = PIL.Image.fromarray(noisy)
    png = io.BytesIO()
    picture.save(png, "PNG")
    return "data:image/png;base64," + base64.b64encode(png.getvalue()).decode()
