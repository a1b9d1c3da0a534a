"""The story of the seeds, from a Dockerfile to a web page and back to an image: as root, and as an ordinary user."""
import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request

from lib import harness, people
from lib.harness import TESTDATA, run

OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
FETCH = "import sys, urllib.request as u; print(u.build_opener(u.ProxyHandler({})).open(sys.argv[1], timeout=5).read().decode())"


def setUpModule():
    people.private_network()


def fetch(url, seconds=20):
    """The page, as soon as there is one."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return OPENER.open(url, timeout=5).read().decode()
        except (urllib.error.URLError, ConnectionError, socket.timeout) as error:
            if time.monotonic() > deadline:
                raise AssertionError(f"{url}: {error}") from None
            time.sleep(0.05)


class Story:
    """One store with the application's image for all tests of a person; containers are removed after each test."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.person = cls.make_person()
        cls.store = cls.person.img()
        with open(harness.flask_tar(), "rb") as tar:
            done = subprocess.run(cls.store.argv("import", "-", "debian-flask"), stdin=tar, capture_output=True, timeout=300,
                                  env={k: v for k, v in {**os.environ, **cls.store.env}.items() if v is not None},
                                  **cls.person.options)
        assert done.returncode == 0, done.stderr.decode()
        # Not Img.build: the default network is the one that an ordinary command line gets.
        cls.store("build", "-t", "helloworld", "-", stdin=cls.context(), timeout=300)

    @staticmethod
    def context():
        return run(["tar", "-C", TESTDATA / "flask", "-c", "."]).raw

    def setUp(self):
        super().setUp()
        self.img_ = self.store
        self.addCleanup(self.img_.remove_containers)
        os.chmod(self.dir, 0o777)

    def web(self, *options, name="web", port=4000):
        container = self.img_("run", "-d", "--name", name, "-p", f"{port}:80", *options, "helloworld").out.strip()
        return container, fetch(f"http://127.0.0.1:{port}/")

    def python(self, *options, code, check=True, **kwargs):
        return self.img_("run", "--rm", *options, "helloworld", "python3", "-c", code, check=check, **kwargs)

    # --- the application ---

    def test_the_page_greets_and_tells_its_host(self):
        container, page = self.web()
        self.assertIn("<h3>Hello World!</h3>", page)
        self.assertIn(f"<b>Hostname:</b> {container[:12]}<br/>", page)
        # From every address of this machine, IPv6 too.
        for address in ("[::1]", people.ADDRESS, "localhost"):
            self.assertEqual(fetch(f"http://{address}:4000/"), page, address)
        self.assertRegex(self.img_("port", "web").out, r"(?m)^80/tcp -> 0\.0\.0\.0:4000$")
        self.assertRegex(self.img_("ps").out, r"0\.0\.0\.0:4000->80/tcp")

    def test_a_variable_changes_the_greeting(self):
        _, page = self.web("-e", "NAME=Layers")
        self.assertIn("Hello Layers!", page)

    def test_a_taken_port_is_an_error_and_leaves_nothing(self):
        self.web()
        before = self.img_("ps", "-a", "-q").out
        shown = self.img_("run", "-d", "-p", "4000:80", "helloworld", check=False)
        self.assertEqual(shown.code, 125, str(shown))
        self.assertIn("4000", shown.err)
        self.assertEqual(self.img_("ps", "-a", "-q").out, before)

    def test_a_published_port_closes_with_its_container(self):
        self.web()
        self.img_("rm", "-f", "web")
        with self.assertRaises(OSError):
            socket.create_connection(("127.0.0.1", 4000), timeout=2).close()

    def test_ps_top_logs_inspect_stop_and_rm(self):
        container, _ = self.web()
        self.assertRegex(self.img_("ps").out, rf"{container[:12]} +helloworld +.*Up .* web")
        self.assertRegex(self.img_("top", "web").out, r"python3 app\.py")
        # The server writes its line after it has answered.
        harness.wait_until(lambda: "GET / HTTP/1.1" in self.img_("logs", "web").err, "the request in the log")
        shown = json.loads(self.img_("inspect", "web").out)[0]
        self.assertEqual((shown["Id"], shown["Name"], shown["State"]["Status"]), (container, "/web", "running"))
        self.assertEqual(shown["Config"]["Hostname"], container[:12])
        self.assertEqual(shown["NetworkSettings"]["Ports"]["80/tcp"][0]["HostPort"], "4000")
        self.assertTrue(os.path.isdir(f"/proc/{shown['State']['Pid']}"))
        self.assertEqual(self.img_("stop", "-t", "2", "web").out, "web\n")
        self.assertEqual(self.img_.field("web", ".State.Status"), "exited")
        self.assertEqual(self.img_("ps", "-q").out, "")
        self.assertEqual(self.img_("rm", "web").out, "web\n")
        self.assertEqual(self.img_("ps", "-a", "-q").out, "")

    # --- a change becomes a layer ---

    def test_a_change_is_committed_and_runs_again(self):
        self.web()
        self.img_("exec", "web", "touch", "/app/test.txt")
        self.img_("exec", "web", "sh", "-c", "echo 10.1.2.3 edited >> /etc/hosts")
        self.img_("commit", "web", "helloworld:v2")
        image = self.img_.image("helloworld:v2")
        self.assertEqual([n for n in image.layer_entries(-1) if n.endswith("hosts")], [])
        self.assertIn("app/test.txt", [n.removeprefix("./") for n in image.layer_entries(-1)])
        self.assertEqual(len(image.layers), len(self.img_.image("helloworld").layers) + 1)
        again = self.img_("run", "-d", "--name", "again", "-p", "4001:80", "helloworld:v2").out.strip()
        self.assertIn(again[:12], fetch("http://127.0.0.1:4001/"))
        self.assertEqual(self.img_("exec", "again", "cat", "/app/test.txt").out, "")
        self.assertNotIn("edited", self.img_("exec", "again", "cat", "/etc/hosts").out)
        self.assertEqual(self.img_("run", "--rm", "helloworld", "test", "-e", "/app/test.txt", check=False).code, 1)

    def test_a_volume_is_seen_on_both_sides_and_is_not_committed(self):
        data = self.dir / "data"
        data.mkdir()
        os.chmod(data, 0o777)
        (data / "from-host").write_text("host\n")
        self.web("-v", f"{data}:/data")
        self.assertEqual(self.img_("exec", "web", "cat", "/data/from-host").out, "host\n")
        self.img_("exec", "web", "sh", "-c", "echo container > /data/from-container")
        self.assertEqual((data / "from-container").read_text(), "container\n")
        # What root of the container writes belongs to the person outside.
        self.assertEqual((data / "from-container").stat().st_uid, self.person.uid)
        self.img_("commit", "web", "with-volume")
        names = [n.removeprefix("./").rstrip("/") for n in self.img_.image("with-volume").layer_entries(-1)]
        self.assertIn("data", names)
        self.assertEqual([n for n in names if n.startswith("data/")], [])
        self.assertEqual(self.img_("run", "--rm", "with-volume", "ls", "-A", "/data").out, "")

    # --- networks ---

    def test_a_second_container_shares_the_network_of_the_first(self):
        self.web()
        shown = self.img_("run", "--rm", "--net", "container:web", "helloworld", "python3", "-c", FETCH, "http://127.0.0.1:80/")
        self.assertIn("Hello World!", shown.out)
        pid = self.img_.field("web", ".State.Pid")
        own = self.img_("run", "--rm", "--net", "container:web", "helloworld", "readlink", "/proc/self/ns/net").out.strip()
        self.assertEqual(own, os.readlink(f"/proc/{pid}/ns/net"))

    def test_the_network_of_the_host_has_its_interfaces(self):
        names = "import socket; print(*sorted(n for _, n in socket.if_nameindex()))"
        inside = self.python("--net", "host", code=names).out.split()
        self.assertEqual(inside, sorted(name for _, name in socket.if_nameindex()))
        self.assertIn("out0", inside)
        self.assertEqual(self.python("--net", "none", code=names).out.split(), ["lo"])

    # --- limits ---

    def limited(self, *options, command, name="limited", **kwargs):
        """None where this person has no cgroups: then the error must say so."""
        shown = self.img_("run", "--name", name, "--net", "none", *options, "helloworld", *command, check=False, **kwargs)
        if self.person.is_root or shown.code != 125:
            return shown
        self.assertRegex(shown.err, r"(?m)^error: ")
        self.assertRegex(shown.err, r"cgroup")
        self.assertRegex(shown.err, r"(?m)hint: .*--cgroups=disabled")
        return None

    def test_a_memory_hog_is_killed(self):
        hog = "b = []\nwhile True: b.append(bytearray(b'x' * (1 << 20)))"
        shown = self.limited("-m", "48m", "--memory-swap", "48m", command=("python3", "-c", hog))
        if shown is None:
            return
        self.assertEqual(shown.code, 137, str(shown))
        self.assertEqual(self.img_.field("limited", ".State.OOMKilled"), "true")
        self.assertEqual(self.img_.field("limited", ".HostConfig.Memory"), str(48 << 20))

    def test_a_fifth_of_a_processor_is_a_fifth(self):
        burn = ("import time\nbegan = time.monotonic()\nwhile time.monotonic() - began < 2: pass\n"
                "print(time.process_time() / (time.monotonic() - began))")
        shown = self.limited("--cpus", "0.2", command=("python3", "-c", burn))
        if shown is None:
            return
        # A busy machine gives less; the limit is what must hold. One period of 100 ms of slack.
        self.assertLess(float(shown.out), 0.26)
        self.assertGreater(float(shown.out), 0.02)

    def test_a_fork_bomb_is_stopped(self):
        bomb = "bomb() { bomb | bomb & }; bomb; sleep 1000"
        shown = self.limited("-d", "--pids-limit", "40", command=("bash", "-c", bomb), timeout=30)
        if shown is None:
            return
        most, deadline = 0, time.monotonic() + 1.5
        while time.monotonic() < deadline:
            rows = self.img_("top", "limited", check=False).out.splitlines()[1:]
            most = max(most, len(rows))
            time.sleep(0.05)
        self.assertLessEqual(most, 40)
        self.img_("rm", "-f", "limited")
        self.assertEqual([c for c in harness.processes().values() if "bomb()" in c], [])


class AsRoot(Story, harness.TestCase):
    make_person = people.Root

    def test_the_containers_own_address_answers(self):
        _, page = self.web()
        address = self.img_.field("web", ".NetworkSettings.IPAddress")
        self.assertRegex(address, r"^10\.\d+\.\d+\.\d+$")
        self.assertEqual(fetch(f"http://{address}:80/"), page)

    def test_containers_find_each_other_by_name(self):
        self.web()
        shown = self.img_("run", "--rm", "helloworld", "python3", "-c", FETCH, "http://web/")
        self.assertIn("Hello World!", shown.out)


class AsOrdinaryUser(Story, harness.TestCase):
    make_person = people.Ordinary

    def test_the_containers_processes_belong_to_the_user(self):
        self.web()
        pid = self.img_.field("web", ".State.Pid")
        self.assertEqual(os.stat(f"/proc/{pid}").st_uid, self.person.uid)
        self.assertNotEqual(os.readlink(f"/proc/{pid}/ns/user"), os.readlink("/proc/self/ns/user"))
        self.assertEqual(self.img_("exec", "web", "id", "-u").out, "0\n")

    def test_the_store_belongs_to_the_user(self):
        owners = {os.lstat(os.path.join(folder, name)).st_uid for folder, _, files in os.walk(self.img_.store / "blobs")
                  for name in files}
        self.assertEqual(owners, {self.person.uid})
