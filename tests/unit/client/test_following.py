"""Following a workload, and owning one: what the integrations stand on."""

import threading
from collections.abc import Iterator

import httpx
import pytest

from runai_core import Client
from runai_core.client.environment import Connection
from runai_core.client.news import Cursors, News, NewsKind
from runai_core.client.ownership import TIME_TO_LIVE, owner_of, page_url
from runai_core.client.sync.following import PERIOD, follow
from runai_core.client.sync.owned import delete_owned, submit_owned
from runai_core.client.sync.transport import Transport
from runai_core.model.errors import AlreadyExists, InvalidRequest, NotFound
from runai_core.model.workload import Phase
from runai_core.settings import load_settings

HOUR = 3600.0
UID = "11111111-1111-4111-8111-111111111111"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("embedded")
    with Client.embedded(load_settings({}, data_dir=folder, simulated_gpus=2)) as client:
        yield client


def told(news: list[News], kind: NewsKind) -> list[str]:
    return [item.text for item in news if item.kind is kind]


def test_a_workload_is_followed_with_its_logs_to_its_end(client: Client) -> None:
    job = client.trainings.submit("talker", command=["sh", "-c", "echo one; echo two; sleep 0.3; echo three"])

    news = list(follow(client, job.id, cursors=Cursors(), period=0.1))

    assert told(news, NewsKind.LOG) == ["one", "two", "three"]
    assert (news[-1].kind, news[-1].is_success) == (NewsKind.END, True)
    assert "default/talker is Completed" in news[-1].text


def test_why_a_workload_waits_is_told_and_its_deletion_is_an_end(client: Client) -> None:
    job = client.trainings.submit("big", command="true", gpus=64)
    later = threading.Timer(0.6, lambda: client.delete(job))  # time in which it could be told again

    news: list[News] = []
    for item in follow(client, job.id, period=0.1):
        news.append(item)
        if "64 GPUs" in item.text and later.ident is None:
            later.start()

    waits = [text for text in told(news, NewsKind.PHASE) + told(news, NewsKind.WAITS) if "64 GPUs" in text]
    assert len(waits) == 1, "the verdict is told once, as long as it stays the same"
    assert (news[-1].kind, news[-1].workload.phase) == (NewsKind.END, Phase.DELETING)
    assert "deleted by" in news[-1].text


class HourGlass(Transport):
    """A connection on which nothing takes time but waiting, and that takes none; a workload that waits an hour."""

    def __init__(self) -> None:
        super().__init__(Connection(url="http://orchestrator", token="t"), httpx.MockTransport(self._answer))
        self.now, self.looks = 0.0, 0

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def _answer(self, _: httpx.Request) -> httpx.Response:
        self.looks += 1
        started, ended = self.now >= HOUR, self.now >= HOUR + 60
        phase = "Completed" if ended else "Running" if started else "Pending"
        sentence = "" if started else "project team-a has used up its quota of 4 GPUs."
        row = {"id": UID, "name": "patient", "projectName": "team-a", "phase": phase, "phaseMessage": sentence}
        return httpx.Response(200, json=row)


def test_a_quota_that_refuses_for_an_hour_is_told_once_and_waited_for() -> None:
    glass = HourGlass()

    news = list(follow(Client(glass), UID))

    assert [item.kind for item in news] == [NewsKind.PHASE, NewsKind.PHASE, NewsKind.END]
    assert "used up its quota of 4 GPUs" in news[0].text
    assert news[-1].is_success
    assert HOUR / PERIOD <= glass.looks <= HOUR / PERIOD + 100, "it must neither hurry nor fall asleep"


def test_what_never_was_cannot_be_followed(client: Client) -> None:
    with pytest.raises(NotFound):
        list(follow(client, UID))


def test_the_same_owner_gets_the_same_workload_and_another_one_is_refused(client: Client) -> None:
    options = {"command": "sleep 30", "annotations": {"mine": "1"}}

    first = submit_owned(client, "Training", "owned", options, owner="tool:a")
    again = submit_owned(client, "Training", "owned", options, owner="tool:a")

    assert first.id == again.id
    assert owner_of(again) == "tool:a"
    with pytest.raises(AlreadyExists):
        submit_owned(client, "Training", "owned", options, owner="tool:b")
    assert delete_owned(client, first.id)
    replaced = submit_owned(client, "Training", "owned", options, owner="tool:a")
    assert replaced.id != first.id, "one that was deleted is not taken for the new one"
    assert delete_owned(client, replaced.id)
    assert not delete_owned(client, UID)


def test_a_workload_whose_tool_is_gone_ends_by_itself(client: Client) -> None:
    job = client.trainings.submit("orphan", command="sleep 300", annotations={TIME_TO_LIVE: "1"})

    news = list(follow(client, job.id, period=0.1))

    assert "deleted 1 s after its submission" in news[-1].text


def test_a_time_to_live_that_is_no_number_is_refused(client: Client) -> None:
    with pytest.raises(InvalidRequest, match="whole number of seconds"):
        client.trainings.submit("forever", command="true", annotations={TIME_TO_LIVE: "soon"})


@pytest.mark.parametrize(
    ("first", "second", "fresh"),
    [
        ("a 1\na 2\n", "a 1\na 2\na 3\n", ["3"]),
        ("2026-01-01T00:00:00.1Z x\n", "2026-01-01T00:00:00.1Z x\n2026-01-01T00:00:00.12Z y\n", ["y"]),
        ("2026-01-01T00:00:00Z x\n", "2026-01-01T00:00:00Z x\n2026-01-01T00:00:00.5Z \n", [""]),
        ("", "", []),
    ],
    ids=["lines of the same time are counted", "fractions of any length", "an empty line is a line", "nothing"],
)
def test_no_line_is_told_twice_or_left_out(first: str, second: str, fresh: list[str]) -> None:
    cursors = Cursors()
    cursors.take("pod", first)

    kept = Cursors({name: tuple(place) for name, place in dict(cursors.last).items()})  # type: ignore[misc]

    assert kept.take("pod", second) == fresh
    assert kept.take("pod", second) == []


def test_a_workload_has_a_page() -> None:
    assert page_url("http://localhost:8000/", "1") == "http://localhost:8000/workloads/1"
