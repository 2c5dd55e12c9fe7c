"""How old requests are at least, where the kernel does not keep when they were made: by when they were seen first."""

from dataclasses import replace

from furtrace.model.snapshot import Entry, Request, Snapshot


class Ages:
    """Remembers since when requests have been seen, over snapshots that are taken one after the other."""

    def __init__(self) -> None:
        self._since: dict[tuple[int, int], int] = {}
        self._present: set[tuple[int, int]] = set()

    def told(self, snapshot: Snapshot) -> Snapshot:
        """The snapshot with an age for each request that was seen before and has none."""
        if all(request.age_s is not None for request in snapshot.all_requests()):
            return snapshot

        def aged(request: Request) -> Request:
            name = snapshot.number, request.unique
            self._present.add(name)
            since = self._since.setdefault(name, snapshot.ns)
            if request.age_s is not None or since == snapshot.ns:
                return request
            return replace(request, age_s=(snapshot.ns - since) / 1e9, at_least=True)

        def with_aged(entry: Entry) -> Entry:
            return entry if entry.request is None else replace(entry, request=aged(entry.request))

        queues = {
            number: replace(
                queue,
                entries=[with_aged(entry) for entry in queue.entries],
                waiting=[aged(request) for request in queue.waiting],
            )
            for number, queue in snapshot.queues.items()
        }
        return replace(snapshot, queues=queues, requests=[aged(request) for request in snapshot.requests])

    def forget_others(self) -> None:
        """Forget the requests that were not seen since this was called before: they have ended."""
        self._since = {name: ns for name, ns in self._since.items() if name in self._present}
        self._present = set()
