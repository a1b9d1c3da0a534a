"""Published ports: who reaches them from where, what the commands tell about them, and that nothing of them stays."""
import hashlib
import json
import os
import pathlib
import select
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

from lib import harness, people
from lib.harness import run

HOST, HOST6 = "192.0.2.10", "fd00:2::10"  # the host's, towards a neighbour
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
SERVE = "mkdir -p /www && echo page > /www/index.html && exec httpd -f -p {port} -h /www"
# Services with a long queue, for the network of a container: busybox has none.
ECHO = """
import selectors, socket
chooser = selectors.DefaultSelector()
tcp, udp = socket.create_server(("0.0.0.0", 7), backlog=4096), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(("0.0.0.0", 7))
for one in (tcp, udp):
    chooser.register(one, selectors.EVENT_READ)
print("ready", flush=True)
while True:
    for key, _ in chooser.select():
        if key.fileobj is tcp:
            chooser.register(tcp.accept()[0], selectors.EVENT_READ)
        elif key.fileobj is udp:
            data, sender = udp.recvfrom(65536)
            udp.sendto(data, sender)
        elif data := key.fileobj.recv(65536):
            key.fileobj.sendall(data)
        else:
            chooser.unregister(key.fileobj)
            key.fileobj.close()
"""
neighbour = None


def setUpModule():
    """A machine next door, on a cable of its own."""
    global neighbour
    run(["ip", "link", "set", "lo", "up"])
    neighbour = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
    run(["ip", "link", "add", "out0", "type", "veth", "peer", "name", "out1"])
    deadline = time.monotonic() + 10
    while os.readlink(f"/proc/{neighbour.pid}/ns/net") == os.readlink("/proc/self/ns/net"):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    run(["ip", "link", "set", "out1", "netns", str(neighbour.pid)])
    for enter, name, addresses in (([], "out0", (HOST, HOST6)), (next_door(), "out1", ("192.0.2.1", "fd00:2::1"))):
        run([*enter, "ip", "address", "add", addresses[0] + "/24", "dev", name])
        run([*enter, "ip", "address", "add", addresses[1] + "/64", "dev", name, "nodad"])
        run([*enter, "ip", "link", "set", name, "up"])
    run(["ip", "route", "add", "default", "via", "192.0.2.1"])
    run(["ip", "-6", "route", "add", "default", "via", "fd00:2::1"])


def tearDownModule():
    neighbour.kill()
    neighbour.wait()


def next_door():
    return ["nsenter", "--net", "--target", str(neighbour.pid)]


def authority(address, port):
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def fetch(address, port=4000, path="", seconds=20):
    """The page, as soon as the service answers: a port is open before it."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return OPENER.open(f"http://{authority(address, port)}/{path}", timeout=10).read()
        except (urllib.error.URLError, ConnectionError, socket.timeout):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def connect(port, address="127.0.0.1"):
    return socket.create_connection((address, port), timeout=20)


def is_free(port, kind=socket.SOCK_STREAM):
    """Whether it can be taken on every address."""
    for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        with socket.socket(family, kind) as probe:
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if kind == socket.SOCK_STREAM:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
                if kind == socket.SOCK_STREAM:
                    probe.listen()
            except OSError:
                return False
    return True


class Ports(harness.TestCase):
    def setUp(self):
        super().setUp()
        self.img_ = self.img(env={"IMG_RUNROOT": str(self.dir / "run")})

    def web(self, *options, name="web", port=80):
        return self.img_("run", "-d", "--name", name, *options, "busybox", "sh", "-c", SERVE.format(port=port)).out.strip()

    def serve(self, script, *options, name="web"):
        return self.img_("run", "-d", "--name", name, *options, "busybox", "sh", "-c", script).out.strip()

    def echo(self, *options):
        """A container with an echo of both protocols on port 7."""
        self.serve("exec sleep 1000", *options)
        service = subprocess.Popen(["nsenter", "--net", "--target", self.field(".State.Pid"), sys.executable, "-c", ECHO],
                                   stdout=subprocess.PIPE)
        self.addCleanup(service.communicate)
        self.addCleanup(service.kill)
        self.assertEqual(service.stdout.readline(), b"ready\n")

    def field(self, template, name="web"):
        return self.img_("inspect", "--format", "{{ " + template + " }}", name).out.strip()

    def column(self, *options):
        return self.img_("ps", "-a", *options, "--format", "{{.Ports}}").out.strip()

    def relays(self):
        return [pid for pid in harness.processes() if harness.process_name(pid) == "img-port-relay"]

    # --- who reaches it ---

    def test_a_port_is_reached_from_everywhere(self):
        self.web("-p", "4000:80")
        for address in ("127.0.0.1", "::1", HOST, HOST6):
            with self.subTest(address):
                self.assertEqual(fetch(address), b"page\n")
        for address in (HOST, HOST6):
            with self.subTest("next door: " + address):
                shown = run([*next_door(), "curl", "--noproxy", "*", "-sS", "--max-time", "10", f"http://{authority(address, 4000)}/"])
                self.assertEqual(shown.out, "page\n")

    def test_the_containers_own_address_answers_beside_it(self):
        self.web("-p", "4000:80")
        self.assertEqual(fetch("127.0.0.1"), b"page\n")
        address = self.img_("exec", "web", "hostname", "-i").out.split()[0]
        self.assertEqual(fetch(address, 80), b"page\n")

    def test_an_address_limits_who_reaches_it(self):
        self.web("-p", "127.0.0.1:4000:80", "-p", f"{HOST}:4001:80", "-p", "[::1]:4002:80")
        self.assertEqual(fetch("127.0.0.1", 4000), b"page\n")
        self.assertEqual(fetch(HOST, 4001), b"page\n")
        self.assertEqual(fetch("::1", 4002), b"page\n")
        for address, port in ((HOST, 4000), ("127.0.0.1", 4001), ("127.0.0.1", 4002)):
            with self.assertRaises(ConnectionRefusedError):
                connect(port, address)
        self.assertEqual(self.img_("port", "web").out,
                         f"80/tcp -> 127.0.0.1:4000\n80/tcp -> {HOST}:4001\n80/tcp -> [::1]:4002\n")

    def test_datagrams_and_their_answers(self):
        self.echo("-p", "5300:7/udp", "-p", "5300:7")
        for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET, HOST), (socket.AF_INET6, "::1")):
            with self.subTest(address), socket.socket(family, socket.SOCK_DGRAM) as client:
                client.settimeout(15)
                client.connect((address, 5300))  # takes answers from there only
                for question in (b"question", b"", b"x" * 40000):
                    client.send(question)
                    self.assertEqual(client.recv(65536), question)

    def test_the_default_network_of_an_ordinary_user(self):
        harness.require("pasta")
        person = people.Ordinary()
        program = person.img().with_busybox()
        self.addCleanup(program.remove_containers)
        program("run", "-d", "--name", "web", "-p", "4000:80", "busybox", "sh", "-c", SERVE.format(port=80))
        for address in ("127.0.0.1", "::1", HOST):
            with self.subTest(address):
                self.assertEqual(fetch(address), b"page\n")
        refused = program("run", "--rm", "-p", "80:80", "busybox", "true", check=False)
        self.assertEqual(refused.code, 125)
        self.assertIn("port 80/tcp of the host is not ours to take", refused.err)
        self.assertIn("-p 8080:80", refused.err)
        program("rm", "-f", "web")
        self.assertTrue(is_free(4000))

    # --- what is carried ---

    def test_a_big_file_arrives_unchanged(self):
        data = os.urandom(1 << 20) * 96
        (self.dir / "www").mkdir()
        (self.dir / "www/big").write_bytes(data)
        self.serve("exec httpd -f -p 80 -h /www", "-p", "4000:80", "-v", f"{self.dir}/www:/www:ro")
        self.assertEqual(hashlib.sha256(fetch("127.0.0.1", path="big")).hexdigest(), hashlib.sha256(data).hexdigest())

    def test_what_is_sent_up_to_its_end_arrives(self):
        self.serve("nc -l -p 90 | sha256sum", "-p", "4000:90")
        data = os.urandom(1 << 20) * 32
        deadline = time.monotonic() + 15
        while True:
            try:
                with connect(4000) as connection:
                    connection.sendall(data)
                    connection.shutdown(socket.SHUT_WR)
                    connection.recv(1)  # its end: everything was read
                break
            except ConnectionError:  # nobody listens yet
                self.assertLess(time.monotonic(), deadline)
                time.sleep(0.02)
        self.img_("wait", "web")
        self.assertEqual(self.img_("logs", "web").out.split()[0], hashlib.sha256(data).hexdigest())

    def test_a_slow_reader_holds_nobody_up(self):
        data = os.urandom(1 << 20) * 64
        (self.dir / "www").mkdir()
        (self.dir / "www/big").write_bytes(data)
        (self.dir / "www/small").write_bytes(b"small")
        self.serve("exec httpd -f -p 80 -h /www", "-p", "4000:80", "-v", f"{self.dir}/www:/www:ro")
        fetch("127.0.0.1", path="small")
        slow = connect(4000)
        slow.sendall(b"GET /big HTTP/1.0\r\n\r\n")
        select.select([slow], [], [], 20)
        for _ in range(20):
            self.assertEqual(fetch("127.0.0.1", path="small"), b"small")
        self.assertEqual(fetch("127.0.0.1", path="big"), data)
        rest = b""
        with slow, slow.makefile("rb") as stream:
            rest = stream.read()
        self.assertEqual(hashlib.sha256(rest.split(b"\r\n\r\n", 1)[1]).hexdigest(), hashlib.sha256(data).hexdigest())

    def test_five_hundred_connections_at_once(self):
        self.echo("-p", "4000:7")
        connections = [connect(4000) for _ in range(500)]
        for number, connection in enumerate(connections):
            connection.sendall(b"%04d" % number)
        for number, connection in enumerate(connections):
            self.assertEqual(connection.recv(4, socket.MSG_WAITALL), b"%04d" % number)
        for connection in connections:
            connection.close()

    def test_nobody_listening_inside_is_a_connection_that_ends(self):
        self.serve("exec sleep 1000", "-p", "4000:80")
        # The reset may be there before connect(2) has returned.
        with self.assertRaises(ConnectionResetError), connect(4000) as connection:
            connection.recv(1)

    # --- ranges, free ports, all ports ---

    def test_ranges(self):
        self.serve("httpd -p 80 -h /bin; httpd -p 81 -h /bin; exec sleep 1000", "-p", "8000-8002:80-82", "-p", "90-91:90-91")
        for port in (8000, 8001):
            self.assertEqual(fetch("127.0.0.1", port, "busybox")[:4], b"\x7fELF")
        self.assertEqual(self.column(), "0.0.0.0:90-91->90-91/tcp, [::]:90-91->90-91/tcp, "
                         "0.0.0.0:8000->80/tcp, [::]:8000->80/tcp, 0.0.0.0:8001->81/tcp, [::]:8001->81/tcp, "
                         "0.0.0.0:8002->82/tcp, [::]:8002->82/tcp")

    def test_a_free_port_of_the_host(self):
        with socket.create_server(("127.0.0.1", 32768)):
            self.web("-p", "80", "-p", "127.0.0.1::80")
            self.assertEqual(self.img_("port", "web", "80").out, "0.0.0.0:32769\n127.0.0.1:32770\n[::]:32769\n")
            self.assertEqual(fetch("::1", 32769), b"page\n")
        self.assertEqual(json.loads(self.field("json .HostConfig.PortBindings")),
                         {"80/tcp": [{"HostIp": "", "HostPort": ""}, {"HostIp": "127.0.0.1", "HostPort": ""}]})

    def test_all_exposed_ports(self):
        self.img_.build(self.write({"Dockerfile": "FROM busybox\nEXPOSE 80 53/udp 81\n"}), "app")
        self.img_("run", "-d", "--name", "web", "-P", "-p", "4000:81", "--expose", "82", "app", "sh", "-c", SERVE.format(port=80))
        ports = json.loads(self.field("json .NetworkSettings.Ports"))
        self.assertEqual(sorted(ports), ["53/udp", "80/tcp", "81/tcp", "82/tcp"])
        self.assertEqual({b["HostPort"] for b in ports["81/tcp"]}, {"4000"})
        for port in ("53/udp", "80/tcp", "82/tcp"):
            self.assertEqual(len({b["HostPort"] for b in ports[port]}), 1, port)
            self.assertGreaterEqual(int(ports[port][0]["HostPort"]), 32768)
        self.assertEqual(fetch("127.0.0.1", int(ports["80/tcp"][0]["HostPort"])), b"page\n")
        self.assertEqual(self.field(".HostConfig.PublishAllPorts"), "true")

    # --- what the commands tell ---

    def test_ps_port_and_inspect(self):
        self.web("-p", "4000:80", "--expose", "443")
        both = [{"HostIp": "0.0.0.0", "HostPort": "4000"}, {"HostIp": "::", "HostPort": "4000"}]
        self.assertEqual(self.column(), "443/tcp, 0.0.0.0:4000->80/tcp, [::]:4000->80/tcp")
        self.assertEqual(self.img_("port", "web").out, "80/tcp -> 0.0.0.0:4000\n80/tcp -> [::]:4000\n")
        self.assertEqual(self.img_("port", "web", "80/tcp").out, "0.0.0.0:4000\n[::]:4000\n")
        missing = self.img_("port", "web", "443", check=False)
        self.assertEqual((missing.code, missing.err), (1, "error: container web does not publish port 443/tcp\n"))
        self.assertEqual(json.loads(self.field("json .NetworkSettings.Ports")), {"80/tcp": both, "443/tcp": None})
        self.assertEqual(json.loads(self.field("json .HostConfig.PortBindings")), {"80/tcp": [{"HostIp": "", "HostPort": "4000"}]})
        self.assertEqual(sorted(json.loads(self.field("json .Config.ExposedPorts"))), ["443/tcp", "80/tcp"])
        for text, found in (("publish=4000", True), ("publish=80", False), ("publish=3990-4010/tcp", True), ("expose=80", True),
                            ("expose=443", True), ("expose=4000", False), ("publish=4000/udp", False)):
            self.assertEqual(self.img_("ps", "-q", "-f", text).out != "", found, text)
        self.img_("stop", "-t", "1", "web")
        self.assertEqual((self.column(), self.img_("port", "web").out, self.field("json .NetworkSettings.Ports")), ("", "", "{}"))

    def test_a_commit_does_not_take_published_ports_along(self):
        self.web("-p", "4000:80")
        self.img_("commit", "web", "kept")
        self.assertNotIn("ExposedPorts", self.img_.image("kept").config)

    def test_modes_that_publish_nothing(self):
        for mode in ("host", "none"):
            with self.subTest(mode):
                shown = self.img_("run", "--rm", "--net", mode, "-p", "4000:80", "busybox", "echo", "ran")
                self.assertEqual(shown.out, "ran\n")
                self.assertIn(f"published ports are ignored with --network {mode}", shown.err)
        self.serve("exec sleep 1000")
        for option in (["-p", "4000:80"], ["-P"]):
            refused = self.img_("run", "--rm", "--net", "container:web", *option, "busybox", "true", check=False)
            self.assertEqual(refused.code, 125, str(refused))

    def test_mistakes(self):
        for spec, why in (("80:80/sctp", "sctp ports cannot be published"), ("80-81:80", "differ in length"), ("x:80", "is not a port"),
                          ("1.2.3:80:80", "is not an IP address"), ("203.0.113.7:4000:80", "is no address of this host")):
            with self.subTest(spec):
                shown = self.img_("run", "--rm", "-p", spec, "busybox", "true", check=False)
                self.assertEqual(shown.code, 125)
                self.assertIn(why, shown.err)
        twice = self.img_("run", "--rm", "-p", "4000:80", "-p", "4000:81", "busybox", "true", check=False)
        self.assertEqual(twice.code, 125)
        self.assertIn("port 4000/tcp of the host is published twice", twice.err)

    # --- the life of a port ---

    def test_a_taken_port_leaves_nothing_behind(self):
        for background in (True, False):
            with self.subTest(background=background), socket.create_server(("127.0.0.1", 4000)):
                options = ["-d"] if background else []
                shown = self.img_("run", *options, "--name", "late", "-v", "/data", "--cidfile", self.dir / "cid", "-p", "3999:80",
                                  "-p", "4000:80", "busybox", "true", check=False)
                self.assertEqual((shown.code, shown.out), (125, ""))
                self.assertIn("error: port 4000/tcp of the host is taken\n", shown.err)
                self.assertIn(f"process {os.getpid()} (", shown.err)
                self.assertEqual(self.img_("ps", "-aq").out, "")
                self.assertEqual(self.img_("volume", "ls", "-q").out, "")
                self.assertFalse((self.dir / "cid").exists())
                self.assertEqual(self.relays(), [])
                self.assertTrue(is_free(3999))

    def test_a_port_that_a_container_has(self):
        self.web("-p", "4000:80")
        shown = self.img_("run", "--rm", "-p", "127.0.0.1:4000:80", "busybox", "true", check=False)
        self.assertEqual(shown.code, 125)
        self.assertIn("(img-port-relay)", shown.err)
        self.assertIn("hint: container web publishes 4000/tcp", shown.err)

    def test_a_container_that_cannot_get_its_port_again_stays(self):
        self.web("-p", "4000:80")
        self.img_("stop", "-t", "1", "web")
        with socket.create_server(("127.0.0.1", 4000)):
            self.assertIn("is taken", self.img_("start", "web", check=False).err)
        self.img_("start", "web")
        self.assertEqual(fetch("127.0.0.1"), b"page\n")
        run([harness.program(), "restart", "--root", self.img_.store, "-t", "1", "web"], env=self.img_.env)
        self.assertEqual(fetch("::1"), b"page\n")

    def test_a_port_is_free_when_its_container_has_ended(self):
        for command in (["stop", "-t", "1"], ["kill"], ["rm", "-f"]):
            with self.subTest(command[0]):
                self.web("-p", "4000:80", "-p", "4000:80/udp", "--rm")
                self.assertFalse(is_free(4000))
                self.img_(*command, "web")
                harness.wait_until(lambda: self.img_("ps", "-aq").out == "", "the end of the container")
                self.assertTrue(is_free(4000) and is_free(4000, socket.SOCK_DGRAM))
                self.assertEqual(self.relays(), [])

    def test_a_foreground_container_publishes_too(self):
        process = self.img_.start("run", "--rm", "--init", "-p", "4000:80", "busybox", "sh", "-c", SERVE.format(port=80),
                                  env={**os.environ, **self.img_.env})
        self.assertEqual(fetch("127.0.0.1"), b"page\n")
        os.killpg(process.pid, signal.SIGTERM)  # as a terminal's Ctrl-C, to the whole group
        process.communicate(timeout=15)
        self.assertTrue(is_free(4000))
        self.assertEqual(self.relays(), [])

    def test_a_killed_keeper_frees_the_port(self):
        self.web("-p", "4000:80")
        self.assertEqual(fetch("127.0.0.1"), b"page\n")
        relay, = self.relays()
        keeper = int(pathlib.Path(f"/proc/{relay}/stat").read_text().rsplit(")", 1)[1].split()[1])
        os.kill(keeper, signal.SIGKILL)
        harness.wait_until(lambda: is_free(4000), "the port")
        harness.wait_until(lambda: not self.relays(), "the relay")
        # The relay hears of it before the container, which runs until then.
        harness.wait_until(lambda: self.column() == "", "the end of the container")
        self.img_("start", "web")
        self.assertEqual(fetch("127.0.0.1"), b"page\n")

    def test_the_relay_has_no_rights_and_nothing_of_the_host(self):
        self.web("-p", "4000:80")
        relay, = self.relays()
        status = dict(line.split(":\t", 1) for line in pathlib.Path(f"/proc/{relay}/status").read_text().splitlines() if ":\t" in line)
        self.assertEqual(status["Uid"].split(), ["65534"] * 4)
        self.assertEqual({int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}, {0})
        self.assertEqual(status["NoNewPrivs"], "1")
        opened = [os.readlink(f"/proc/{relay}/fd/{name}") for name in os.listdir(f"/proc/{relay}/fd")]
        self.assertEqual([name for name in opened if not name.startswith(("socket:", "pipe:", "anon_inode:[eventpoll]", "/dev/null"))], [])
