"""Replay of jobs with durations in virtual time: strictly first in, first out, or through the engine.

The engine's cycle runs at every arrival and every end. A job that is stopped
goes on later from where it was: training jobs save checkpoints.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from heapq import heappop, heappush
from typing import Protocol

from runai_core.engine.incremental import Scheduler
from runai_core.model.errors import FieldError, InvalidRequest
from runai_core.model.organization import Queue, QueueResources, ResourceQuota
from runai_core.model.resources import MILLI
from runai_core.model.snapshot import NodeEntry, PodEntry, PodGroup, PodRequest, PodState, Snapshot
from runai_core.simulation.measures import Ledger, Replayed
from runai_core.simulation.philly import Job, pods_of

MOST_CYCLES = 1000
"""Cycles at one moment; the engine settles in a few, and this keeps a defect from hanging the replay."""

STEP = 20
"""Events between two reports of progress."""


Change = tuple[str, bool]
"""A job, and whether it starts; else it stops."""


class Policy(Protocol):
    """Decides who runs. The replay tells it what happened and asks after each moment."""

    def arrive(self, job: Job) -> None:
        """Take a job that waits from now on."""

    def end(self, job: Job) -> None:
        """Forget a job that has ended: its GPUs are free."""

    def decide(self, now: float) -> list[Change]:
        """Return the jobs that start, and those that stop, in order."""


class Fifo:
    """Jobs start in the order of their arrival; the first that does not fit holds all others back.

    A pod goes to the node with the fewest free GPUs that has enough.
    """

    def __init__(self, _queues: Sequence[str], nodes: int, gpus: int) -> None:
        self._gpus = gpus
        self._free = [gpus] * nodes
        self._waiting: deque[Job] = deque()
        self._places: dict[str, list[tuple[int, int]]] = {}

    def arrive(self, job: Job) -> None:
        """Put a job at the end of the line."""
        self._waiting.append(job)

    def end(self, job: Job) -> None:
        """Give its GPUs back."""
        for node, count in self._places.pop(job.name):
            self._free[node] += count

    def decide(self, _now: float) -> list[Change]:
        """Start the jobs at the head of the line that fit; nobody is stopped."""
        changes = []
        while self._waiting and self._start(self._waiting[0]):
            changes.append((self._waiting.popleft().name, True))
        return changes

    def _start(self, job: Job) -> bool:
        taken: list[tuple[int, int]] = []
        for count in pods_of(job.gpus, self._gpus):
            roomy = [node for node, free in enumerate(self._free) if free >= count]
            if not roomy:
                for node, given in taken:
                    self._free[node] += given
                return False
            node = min(roomy, key=lambda number: (self._free[number], number))
            self._free[node] -= count
            taken.append((node, count))
        self._places[job.name] = taken
        return True


class Engine:
    """The engine that schedules for real: gangs, fair shares, reclaim, consolidation.

    Every queue deserves the same part of the GPUs and may borrow what others
    leave.
    """

    def __init__(self, queues: Sequence[str], nodes: int, gpus: int) -> None:
        self._gpus = gpus
        deserved = nodes * gpus * MILLI // max(len(queues), 1)
        quota = QueueResources(gpu=ResourceQuota(deserved=deserved, over_quota_weight=1.0))
        self._cluster = Snapshot(
            taken_at=0.0,
            nodes=tuple(NodeEntry(name=f"node-{number:05}", gpus=gpus) for number in range(nodes)),
            queues=tuple(Queue(name=name, resources=quota) for name in queues),
        )
        self._scheduler = Scheduler(self._cluster, small=0)  # nobody reads suggestions here
        self._pods: dict[str, PodEntry] = {}
        self._members: dict[str, list[str]] = {}
        self._groups: dict[str, PodGroup] = {}

    def arrive(self, job: Job) -> None:
        """Hand the job to the engine as a gang."""
        sizes = pods_of(job.gpus, self._gpus)
        requests = {count: PodRequest(gpu_devices=count) for count in set(sizes)}
        names = self._members[job.name] = [f"{job.name}-{number}" for number in range(len(sizes))]
        for name, count in zip(names, sizes, strict=True):
            self._pods[name] = PodEntry(name=name, pod_group=job.name, request=requests[count], created_at=job.arrival)
        self._groups[job.name] = PodGroup(
            name=job.name, queue=job.queue, min_members=len(sizes), created_at=job.arrival
        )

    def end(self, job: Job) -> None:
        """Take the job out of the snapshot."""
        for name in self._members.pop(job.name):
            del self._pods[name]
        del self._groups[job.name]

    def decide(self, now: float) -> list[Change]:
        """Run cycles until one changes nothing more, as the service does; what is stopped is gone at once."""
        changes: list[Change] = []
        for _ in range(MOST_CYCLES):
            groups, pods = tuple(self._groups.values()), tuple(self._pods.values())
            result = self._scheduler.decide(replace(self._cluster, taken_at=now, pod_groups=groups, pods=pods))
            for victim in result.evictions:
                self._change(victim.pod, PodState.PENDING, None)
            for bind in result.binds:
                self._change(bind.pod, PodState.RUNNING, bind.node)
            starting = dict.fromkeys(bind.pod_group for bind in result.binds)
            for name in starting:
                self._groups[name] = replace(self._groups[name], last_start=now)
            changes += [(name, True) for name in starting]
            changes += [(name, False) for name in dict.fromkeys(victim.pod_group for victim in result.evictions)]
            if not result.evictions:
                break
        return changes

    def _change(self, pod: str, state: PodState, node: str | None) -> None:
        self._pods[pod] = replace(self._pods[pod], state=state, node=node)


POLICIES: Mapping[str, type[Fifo] | type[Engine]] = {"fifo": Fifo, "engine": Engine}
"""Name -> how it is decided who runs."""


@dataclass(slots=True)
class Course:
    """How one job fares. Times in seconds."""

    job: Job
    left: float  # seconds of work when it was started last
    started: float = 0.0
    first_start: float | None = None
    ended: float = 0.0
    turn: int = 0  # counts starts and stops: an end that was foreseen in an earlier turn is void


class Replay:
    """The clock, the jobs and the ledger of one replay."""

    def __init__(self, jobs: Sequence[Job], decider: Policy, capacity: int) -> None:
        self._jobs = jobs
        self._decider = decider
        self._courses = {job.name: Course(job, job.duration) for job in jobs}
        self.queues = tuple(sorted({job.queue for job in jobs}))
        self._numbers = {name: number for number, name in enumerate(self.queues)}
        self._has, self._wants = [0] * len(self.queues), [0] * len(self.queues)
        self._ends: list[tuple[float, str, int]] = []
        self._arrived = 0
        self.ledger = Ledger(self.queues, capacity)
        self.ended = 0
        self.preemptions = 0
        self.now = 0.0

    def step(self) -> None:
        """Go to the next arrival or end, and let the policy decide."""
        self.now = self._next_moment()
        while self._arrived < len(self._jobs) and self._jobs[self._arrived].arrival <= self.now:
            job = self._jobs[self._arrived]
            self._decider.arrive(job)
            self._wants[self._numbers[job.queue]] += job.gpus
            self._arrived += 1
        while self._ends and self._ends[0][0] <= self.now:
            _, name, turn = heappop(self._ends)
            if turn == self._courses[name].turn:
                self._end(self._courses[name])
        for name, starts in self._decider.decide(self.now):
            (self._start if starts else self._stop)(self._courses[name])
        self.ledger.note(self.now, tuple(self._has), tuple(self._wants))

    def _next_moment(self) -> float:
        moments = [end for end, _, _ in self._ends[:1]]
        if self._arrived < len(self._jobs):
            moments.append(self._jobs[self._arrived].arrival)
        return min(moments)

    def _start(self, course: Course) -> None:
        if course.first_start is None:
            course.first_start = self.now
        course.started = self.now
        course.turn += 1
        self._has[self._numbers[course.job.queue]] += course.job.gpus
        heappush(self._ends, (self.now + course.left, course.job.name, course.turn))

    def _stop(self, course: Course) -> None:
        course.left -= self.now - course.started
        course.turn += 1
        self.preemptions += 1
        self._has[self._numbers[course.job.queue]] -= course.job.gpus

    def _end(self, course: Course) -> None:
        course.ended = self.now
        course.turn += 1
        self.ended += 1
        number = self._numbers[course.job.queue]
        self._has[number] -= course.job.gpus
        self._wants[number] -= course.job.gpus
        self._decider.end(course.job)

    def outcome(self, policy: str) -> Replayed:
        """Return what the replay came to."""
        courses = self._courses.values()
        return Replayed(
            policy=policy,
            queues=self.queues,
            waits=tuple((course.first_start or 0.0) - course.job.arrival for course in courses),
            completions=tuple(course.ended - course.job.arrival for course in courses),
            preemptions=self.preemptions,
            makespan=self.now - self._jobs[0].arrival,
            use=tuple(self.ledger.use),
            shares=self.ledger.shares(),
        )


def replay_jobs(jobs: Sequence[Job], policy: str, nodes: int, gpus: int) -> Iterator[float | Replayed]:
    """Replay jobs, oldest first: yield how much is done, from 0 to 1, every now and then, and last the outcome.

    Raises:
        InvalidRequest: a job wants more GPUs than there are.
    """
    largest = max(jobs, key=lambda job: job.gpus)
    if len(pods_of(largest.gpus, gpus)) > nodes:
        message = f"must be enough for the largest job, {largest.name} with {largest.gpus} GPUs"
        raise InvalidRequest.of(FieldError("--nodes", message, nodes))
    decider = POLICIES[policy](sorted({job.queue for job in jobs}), nodes, gpus)
    replay = Replay(jobs, decider, nodes * gpus)
    steps = 0
    while replay.ended < len(jobs):
        replay.step()
        steps += 1
        if steps % STEP == 0:
            yield replay.ended / len(jobs)
    yield replay.outcome(policy)
