"""The media worker process: reads one job a line, does it under resource limits, writes one answer a line.

Started as `python -m bridge.media.worker` by `bridge.media.pool`. It knows nothing of the bridge but this
package: what it opens comes from machines that may be broken or hostile, so it holds no secrets and has a
memory limit, and every job has a CPU and a file size limit. It ends when its standard input does.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from collections.abc import Callable
from typing import Annotated, Any, Final, Literal, TextIO

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from bridge.errors import ActionRejectedError, ActionUnavailableError
from bridge.media.job import CutJob, CutResult, Inspection, InspectJob, Model, Thumbnail, ThumbnailJob

_PR_SET_PDEATHSIG: Final = 1


class Settings(Model):
    """What a worker is told once, at its start."""

    memory: int = Field(1024**3, gt=0, description="Address space, bytes.")
    nice: int = Field(5, ge=0, le=19, description="Added to the process's niceness: events come before clips.")


class CutRequest(Model):
    """Cut a clip."""

    kind: Literal["cut"] = "cut"
    job: CutJob
    cpu: float = Field(description="Seconds of CPU time for this job.")


class InspectRequest(Model):
    """Look into a file."""

    kind: Literal["inspect"] = "inspect"
    job: InspectJob
    cpu: float


class ThumbnailRequest(Model):
    """Make a JPEG."""

    kind: Literal["thumbnail"] = "thumbnail"
    job: ThumbnailJob
    cpu: float


Request = CutRequest | InspectRequest | ThumbnailRequest
Answer = CutResult | Inspection | Thumbnail


class Reply(BaseModel):
    """What comes back: an answer, or why there is none. `error` names the class to raise."""

    model_config = ConfigDict(frozen=True)

    answer: Answer | None = None
    error: Literal["rejected", "unavailable"] | None = None
    reason: str = ""
    message: str = ""


class Ready(Model):
    """The first line a worker writes."""

    ready: Literal[True] = True
    av: str


_REQUEST: Final[TypeAdapter[Request]] = TypeAdapter(Annotated[Request, Field(discriminator="kind")])


def main() -> None:
    """Serve until standard input ends."""
    settings = Settings.model_validate_json(sys.argv[1])
    answers = _own_stdout()
    _confine(settings)
    # Late, so that the memory limit already holds for what the libraries do.
    import av
    import av.logging

    av.logging.set_level(None)
    handlers = _handlers()
    print(Ready(av=av.__version__).model_dump_json(), file=answers, flush=True)
    for line in sys.stdin:
        reply = _serve(line, handlers)
        print(reply.model_dump_json(), file=answers, flush=True)


def _handlers() -> dict[str, Callable[[Any], Answer]]:
    from bridge.media.clip import cut
    from bridge.media.inspect import inspect, thumbnail

    return {"cut": cut, "inspect": inspect, "thumbnail": thumbnail}


def _serve(line: str, handlers: dict[str, Callable[[Any], Answer]]) -> Reply:
    request = _REQUEST.validate_json(line)
    _limit_job(request.cpu, request.job.limits.max_bytes)
    try:
        return Reply(answer=handlers[request.kind](request.job))
    except ActionRejectedError as exc:
        return Reply(error="rejected", reason=exc.reason, message=str(exc))
    except ActionUnavailableError as exc:
        return Reply(error="unavailable", message=str(exc))
    except MemoryError:
        return Reply(error="rejected", reason="too_large", message="the job needs more memory than a worker may use")
    except Exception as exc:  # noqa: BLE001  (the edge of the process: a job's failure must not end the worker)
        return Reply(error="unavailable", message=f"the media worker failed: {type(exc).__name__}: {exc}")


def _own_stdout() -> TextIO:
    """Keep the answer pipe to ourselves: whatever a library prints goes to standard error."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return answers


def _confine(settings: Settings) -> None:
    os.umask(0o027)
    os.nice(settings.nice)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the pool decides when we end
    resource.setrlimit(resource.RLIMIT_AS, (settings.memory, settings.memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            raise SystemExit(1)


def _limit_job(cpu: float, size: int) -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    spent = used.ru_utime + used.ru_stime
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(spent + cpu) + 1, hard))
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 64 * 1024**2, hard))


if __name__ == "__main__":
    main()
