"""The measure before the measured: each client's message reaches each server byte for byte without Postern between them,
so that what real_mail.py finds is Postern's doing."""

import concurrent.futures

import peers
from harness import CORPUS, SystemTest, difference, wait_for


def compare(test, server, sent, seconds=60):
    """Fails unless the server has exactly what was sent: recipient -> content."""
    wait_for(lambda: server.count() >= len(sent), f"{len(sent)} messages (there are {server.count()})", seconds)
    stored = server.stored()
    test.assertEqual(sorted(stored), sorted(sent))
    wrong = {recipient: found for recipient, content in sent.items() if (found := difference(stored[recipient], content))}
    test.assertEqual(wrong, {})


def send_all(clients, front, files):
    """Every file by every client, a few at a time. Returns recipient -> content that must arrive."""
    jobs = [(send, f"{name}.{file.stem}@example.com", file) for name, send in clients.items() for file in files]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        contents = pool.map(lambda job: job[0](front, job[1], job[2]), jobs)
        return {recipient: content for (_, recipient, _), content in zip(jobs, contents)}


class PeersDirect(SystemTest):
    files = sorted((CORPUS / "fixed200").iterdir())[::20]

    def check(self, server, front=None):
        compare(self, server, send_all(peers.CLIENTS, front or server, self.files))

    def test_aiosmtpd(self):
        self.check(self.place.add(peers.Aiosmtpd()))

    def test_aiosmtpd_behind_haproxy(self):
        server = self.place.add(peers.Aiosmtpd())
        self.check(server, peers.HaProxy(self.place, server))

    def test_postfix(self):
        self.check(peers.Postfix(self.place))

    def test_opensmtpd(self):
        self.check(peers.OpenSmtpd(self.place))

    def test_exim(self):
        self.check(peers.Exim(self.place))
