"""Networks of containers and build steps, for real: the bridge, its addresses and names, the way outside and back, what
is left after kill -9, an ordinary user's stack. The suite has a network of its own (run.py): what is "the host" here is a
namespace, and "outside" is a second one."""
import http.client
import json
import os
import re
import signal
import subprocess
import time

from lib import harness
from lib.harness import run

OUTSIDE = "198.51.100.2"  # RFC 5737: of no real network


def ip(*args):
    return run(["ip", *args]).out


def veths():
    return re.findall(r"veth[0-9a-f]+", ip("-o", "link", "show", "master", "img0")) if "img0" in ip("-o", "link") else []


def setUpModule():
    ip("link", "set", "lo", "up")


class Network(harness.TestCase):
    def setUp(self):
        super().setUp()
        harness.require("ip", "nft", "busybox")
        self.runroot = self.dir / "run"
        self.img_ = self.img(env={"IMG_RUNROOT": str(self.runroot)})
        self.addCleanup(self.remove_bridge)
        self.addCleanup(self.img_.remove_containers)

    def remove_bridge(self):
        subprocess.run(["ip", "link", "del", "img0"], capture_output=True)
        subprocess.run(["nft", "delete", "table", "ip", "img0"], capture_output=True)

    def run_(self, *args, **kwargs):
        return self.img_("run", "--rm", *args, **kwargs)

    def serve(self, name, *options, text=None):
        """A container with a web server on port 80 that answers with its name."""
        script = f"mkdir -p /w; echo {text or name} > /w/index.html; exec httpd -f -p 80 -h /w"
        self.img_("run", "-d", "--name", name, *options, "busybox", "sh", "-c", script)
        address = self.fact(name, ".NetworkSettings.IPAddress")
        if address:
            harness.wait_until(lambda: self.fetch(address) is not None, "the server does not answer")
        return address

    def fetch(self, address):
        connection = http.client.HTTPConnection(address, 80, timeout=2)
        try:
            connection.request("GET", "/")
            return connection.getresponse().read().decode().strip()
        except OSError:
            return None
        finally:
            connection.close()

    def fact(self, name, path):
        return self.img_("inspect", "-f", "{{" + path + "}}", name).out.strip()

    def outside(self):
        """A neighbour of "the host", with a web server that answers with the address it was asked from."""
        holder = subprocess.Popen(["unshare", "-n", "sleep", "7300000"])
        self.addCleanup(holder.wait)
        self.addCleanup(holder.kill)
        harness.wait_until(lambda: os.readlink(f"/proc/{holder.pid}/ns/net") != os.readlink("/proc/self/ns/net"), "no namespace")
        ip("link", "add", "up0", "type", "veth", "peer", "name", "up1", "netns", str(holder.pid))
        self.addCleanup(lambda: subprocess.run(["ip", "link", "del", "up0"], capture_output=True))
        ip("address", "add", "198.51.100.1/24", "dev", "up0")
        ip("link", "set", "up0", "up")
        inside = ["nsenter", "-n", "-t", str(holder.pid)]
        run([*inside, "ip", "address", "add", f"{OUTSIDE}/24", "dev", "up1"])
        run([*inside, "ip", "link", "set", "up1", "up"])
        # Like any router on the way it knows no container network, so answers come back only through translation.
        www = self.dir / "outside"
        www.mkdir()
        (www / "index.html").write_text("outside\n")
        server = subprocess.Popen([*inside, "busybox", "httpd", "-f", "-v", "-p", "80", "-h", str(www)],
                                  stderr=open(self.dir / "access", "w"))
        self.addCleanup(server.wait)
        self.addCleanup(server.kill)
        harness.wait_until(lambda: self.fetch(OUTSIDE) == "outside", "the neighbour does not answer")
        return inside

    # --- the bridge ---

    def test_containers_reach_each_other_by_address_and_by_name_and_the_host_reaches_them(self):
        address = self.serve("web", "--network-alias", "www")
        self.assertEqual(self.fetch(address), "web")
        short = self.fact("web", ".Id")[:12]
        for name in (address, "web", "www", short):
            with self.subTest(name):
                self.assertEqual(self.run_("busybox", "timeout", "2", "wget", "-qO-", f"http://{name}/").out, "web\n")

    def test_names_appear_and_disappear_in_containers_that_run_already(self):
        self.img_("run", "-d", "--name", "first", "busybox", "sleep", "7300001")
        hosts = lambda: self.img_("exec", "first", "cat", "/etc/hosts").out
        self.assertNotIn("second", hosts())
        self.img_("run", "-d", "--name", "second", "busybox", "sleep", "7300002")
        address = self.fact("second", ".NetworkSettings.IPAddress")
        harness.wait_until(lambda: re.search(rf"(?m)^{re.escape(address)}\tsecond ", hosts()), "second is not in the hosts file")
        self.img_("rm", "-f", "second")
        harness.wait_until(lambda: "second" not in hosts(), "second is still in the hosts file")
        self.img_("exec", "first", "sh", "-c", "echo '10.1.1.1 mine' > /etc/hosts")
        self.img_("run", "-d", "--name", "third", "busybox", "sleep", "7300003")
        time.sleep(0.2)  # longer than a change takes to arrive
        self.assertEqual(hosts(), "10.1.1.1 mine\n", "a file that the container wrote itself is its own")

    def test_inspect_tells_the_address_while_the_container_runs(self):
        self.img_("run", "-d", "--name", "c", "--ip", "10.89.7.7", "--mac-address", "02:00:00:00:07:07", "busybox", "sleep", "7300004")
        facts = json.loads(self.img_("inspect", "c").out)[0]["NetworkSettings"]
        self.assertEqual((facts["IPAddress"], facts["Gateway"], facts["IPPrefixLen"], facts["MacAddress"]),
                         ("10.89.7.7", "10.89.0.1", 16, "02:00:00:00:07:07"))
        self.assertEqual(facts["Networks"]["bridge"]["IPAddress"], "10.89.7.7")
        self.assertIn("02:00:00:00:07:07", self.img_("exec", "c", "ip", "link", "show", "eth0").out)
        self.img_("kill", "c")
        harness.wait_until(lambda: self.fact("c", ".State.Status") == "exited", "still running")
        self.assertEqual(self.fact("c", ".NetworkSettings.IPAddress"), "")

    def test_a_restarted_container_gets_everything_anew(self):
        self.serve("web")
        self.img_("stop", "-t", "0", "web")
        self.img_("start", "web")
        address = self.fact("web", ".NetworkSettings.IPAddress")
        harness.wait_until(lambda: self.fetch(address) == "web", "the server does not answer after a restart")

    def test_a_new_name_is_known_to_the_others_also_after_a_restart_by_policy(self):
        self.img_("run", "-d", "--name", "looker", "busybox", "sleep", "7300012")
        self.img_("run", "-d", "--name", "old", "--network-alias", "www", "--restart", "always",
                  "busybox", "sh", "-c", "trap 'exit 1' TERM; sleep 7300013 & wait")
        hosts = lambda: self.img_("exec", "looker", "cat", "/etc/hosts").out
        self.img_("rename", "old", "new")
        harness.wait_until(lambda: re.search(r"\tnew \w+ www\n", hosts()), "the new name is not in the hosts file")
        self.assertNotIn("old", hosts())
        self.img_("exec", "new", "kill", "1", check=False)  # which may be killed with it
        harness.wait_until(lambda: self.fact("new", ".RestartCount") == "1" and self.fact("new", ".State.Status") == "running",
                      "no restart")
        harness.wait_until(lambda: "\tnew " in hosts(), "the new name is lost with a restart")

    def test_between_two_runs_a_container_has_no_network(self):
        self.img_("run", "-d", "--name", "c", "-p", "4000:80", "--restart", "always", "busybox", "false")
        harness.wait_until(lambda: self.fact("c", ".State.Status") == "restarting" and self.fact("c", ".RestartCount") >= "3", "no restart")
        self.assertEqual(self.img_("port", "c").out, "")
        self.assertEqual(self.fact("c", ".NetworkSettings.IPAddress"), "")
        shown = self.run_("--net", "container:c", "busybox", "true", check=False)
        self.assertEqual(shown.code, 125)
        self.assertIn("cannot share the network of container c: it is restarting", shown.err)
        self.img_("stop", "c")
        self.assertEqual(self.fact("c", ".State.Status") + self.fact("c", ".State.ExitCode") + self.fact("c", ".State.Error"), "exited1")

    def test_an_address_in_use_is_refused_with_its_holder(self):
        self.img_("run", "-d", "--name", "holder", "--ip", "10.89.0.50", "busybox", "sleep", "7300005")
        shown = self.run_("--ip", "10.89.0.50", "busybox", "true", check=False)
        self.assertEqual(shown.code, 125)
        self.assertIn("the address 10.89.0.50 is in use", shown.err)
        self.assertIn('"holder"', shown.err)
        shown = self.run_("--ip", "10.77.0.50", "busybox", "true", check=False)
        self.assertEqual(shown.code, 125)
        self.assertIn("10.89.0.2 to 10.89.255.254", shown.err)

    def test_twenty_starts_at_once_get_twenty_addresses(self):
        script = "ip -4 -o address show eth0; read line"
        processes = [subprocess.Popen(self.img_.argv("run", "--rm", "-i", "busybox", "sh", "-c", script), stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, **self.img_.env})
                     for _ in range(20)]
        lines = [process.stdout.readline().decode() for process in processes]
        answers = [process.communicate(b"\n") for process in processes]
        self.assertEqual([p.returncode for p in processes], [0] * 20, [a[1] for a in answers])
        addresses = re.findall(r"inet (10\.89\.0\.\d+)/16", "".join(lines))
        self.assertEqual(len(set(addresses)), 20, lines)

    def test_a_full_pool_is_an_error_that_names_the_subnet(self):
        env = {"IMG_BRIDGE": "imgsmall", "IMG_BRIDGE_SUBNET": "10.200.3.0/29"}
        self.addCleanup(lambda: subprocess.run(["nft", "delete", "table", "ip", "imgsmall"], capture_output=True))
        self.addCleanup(lambda: subprocess.run(["ip", "link", "del", "imgsmall"], capture_output=True))
        for number in range(5):
            self.img_("run", "-d", "busybox", "sleep", "7300006", env=env)
        shown = self.img_("run", "-d", "--name", "sixth", "busybox", "true", env=env, check=False)
        self.assertEqual(shown.code, 125)
        self.assertIn("no address is free in 10.200.3.0/29", shown.err)
        self.img_("rm", "-f", self.img_("ps", "-q").out.split()[0])
        self.img_("run", "--rm", "busybox", "true", env=env)

    # --- outside ---

    def test_the_outside_is_reached_through_translation_and_does_not_reach_in(self):
        outside = self.outside()
        address = self.serve("web")
        self.assertEqual(self.run_("busybox", "timeout", "3", "wget", "-qO-", f"http://{OUTSIDE}/").out, "outside\n")
        self.assertIn("[::ffff:198.51.100.1]", (self.dir / "access").read_text(), "the neighbour saw the host's address")
        self.assertNotIn("10.89.", (self.dir / "access").read_text())
        run([*outside, "ip", "route", "add", "10.89.0.0/16", "via", "198.51.100.1"])
        shown = run([*outside, "busybox", "timeout", "1", "busybox", "wget", "-qO-", f"http://{address}/"], check=False)
        self.assertNotEqual(shown.code, 0, "a container is not reached from outside without a published port")

    def test_rules_of_the_host_hold_for_containers(self):
        self.outside()
        run(["nft", "-f", "-"], stdin=b"table ip mine {\n chain f {\n  type filter hook forward priority 10; policy accept\n"
                                      b"  oifname \"up0\" drop\n }\n}\n")
        self.addCleanup(lambda: subprocess.run(["nft", "delete", "table", "ip", "mine"], capture_output=True))
        # Not as PID 1, which would ignore the signal of timeout.
        shown = self.run_("busybox", "sh", "-c", f"timeout 1 wget -qO- http://{OUTSIDE}/; exit $?", check=False)
        self.assertNotEqual(shown.code, 0)

    def test_a_reload_of_the_hosts_rules_is_mended_by_the_next_start(self):
        self.outside()
        self.run_("busybox", "true")
        run(["nft", "flush", "ruleset"])
        self.assertEqual(self.run_("busybox", "timeout", "3", "wget", "-qO-", f"http://{OUTSIDE}/").out, "outside\n")

    # --- nothing is left ---

    def test_kill_9_of_everything_leaves_no_interface_and_no_lease(self):
        self.img_("run", "-d", "--name", "c", "busybox", "sleep", "7300007")
        attached = self.img_.start("run", "--name", "d", "busybox", "sleep", "7300008", env={**os.environ, **self.img_.env})
        harness.wait_until(lambda: len(veths()) == 2, "two containers have two interfaces")
        holders = [pid for pid, words in harness.processes().items() if "7300007" in words or "7300008" in words]
        self.assertGreaterEqual(len(holders), 3)
        for pid in holders:
            os.kill(pid, signal.SIGKILL)
        attached.communicate()
        harness.wait_until(lambda: not veths(), f"interfaces are left: {veths()}")
        self.assertEqual(self.run_("--ip", "10.89.0.2", "busybox", "true").code, 0, "the address is free again")
        self.assertNotIn("10.89", run(["nft", "list", "chain", "ip", "img0", "forward"]).out, "rules name no container")

    # --- other modes ---

    def test_a_second_container_in_the_network_of_the_first(self):
        address = self.serve("web")
        shown = self.run_("--net", "container:web", "busybox", "sh", "-c",
                          "wget -qO- http://127.0.0.1/; hostname; ip -4 -o address show eth0; cat /etc/hosts").out
        self.assertTrue(shown.startswith("web\n" + self.fact("web", ".Id")[:12] + "\n"), shown)
        self.assertIn(address + "/16", shown)
        self.assertIn(self.img_("exec", "web", "cat", "/etc/hosts").out, shown)
        self.img_("exec", "web", "sh", "-c", "echo '10.9.9.9 added' >> /etc/hosts")
        self.assertIn("10.9.9.9 added", self.run_("--net", "container:web", "busybox", "cat", "/etc/hosts").out)
        for option in (("-p", "1:1"), ("-h", "x"), ("--dns", "1.1.1.1"), ("--add-host", "a:1.1.1.1")):
            shown = self.run_("--net", "container:web", *option, "busybox", "true", check=False)
            self.assertEqual(shown.code, 125, str(shown))
            self.assertIn("does not go with --network container:web", shown.err)

    def test_the_address_stays_taken_while_a_second_container_uses_it(self):
        self.img_("run", "-d", "--name", "first", "--ip", "10.89.0.60", "busybox", "sleep", "7300009")
        self.img_("run", "-d", "--name", "second", "--net", "container:first", "busybox", "sleep", "7300010")
        self.img_("rm", "-f", "first")
        self.assertIn("10.89.0.60", self.img_("exec", "second", "ip", "-4", "-o", "address").out)
        self.assertEqual(self.run_("--ip", "10.89.0.60", "busybox", "true", check=False).code, 125)
        self.img_("rm", "-f", "second")
        self.assertEqual(self.run_("--ip", "10.89.0.60", "busybox", "true").code, 0)

    def test_a_network_of_a_container_that_does_not_run(self):
        self.img_("create", "--name", "idle", "busybox", "true")
        shown = self.run_("--net", "container:idle", "busybox", "true", check=False)
        self.assertEqual(shown.code, 125)
        self.assertIn("cannot share the network of container idle: it does not run", shown.err)

    def test_a_start_that_fails_does_not_undo_that_the_container_ran(self):
        self.img_("run", "-d", "--name", "owner", "busybox", "sleep", "7300014")
        self.img_("run", "--name", "guest", "--net", "container:owner", "busybox", "true")
        ran = self.fact("guest", ".State.FinishedAt")
        self.img_("stop", "-t", "0", "owner")
        self.assertNotEqual(self.img_("start", "guest", check=False).code, 0)
        self.assertEqual((self.fact("guest", ".State.Status"), self.fact("guest", ".State.FinishedAt")), ("exited", ran))
        self.assertIn("owner", self.fact("guest", ".State.Error"))

    def test_a_namespace_by_path(self):
        holder = subprocess.Popen(["unshare", "-n", "sh", "-c", "ip link add mark type bridge; exec sleep 7300011"])
        self.addCleanup(holder.wait)
        self.addCleanup(holder.kill)
        inside = ["nsenter", "-n", "-t", str(holder.pid), "ip", "link", "show", "mark"]
        harness.wait_until(lambda: run(inside, check=False).code == 0, "no namespace")
        self.assertIn("mark", self.run_("--net", f"ns:/proc/{holder.pid}/ns/net", "busybox", "ip", "link").out)

    def test_none_has_loopback_alone_and_unknown_networks_are_named(self):
        shown = self.run_("--net", "none", "busybox", "ip", "-o", "link").out.splitlines()
        self.assertEqual(len(shown), 1)
        self.assertIn("LOOPBACK,UP", shown[0])
        shown = self.run_("--net", "mars", "busybox", "true", check=False)
        self.assertEqual((shown.code, "unknown network" in shown.err), (125, True))

    def test_hosts_and_resolver_follow_the_options(self):
        shown = self.run_("--add-host", "gw:host-gateway", "--add-host", "a:1.2.3.4", "--dns", "192.0.2.53", "--dns-search", "corp.example",
                          "--dns-option", "ndots:2", "busybox", "cat", "/etc/hosts", "/etc/resolv.conf").out
        for line in ("10.89.0.1\tgw", "1.2.3.4\ta", "nameserver 192.0.2.53", "search corp.example", "options ndots:2"):
            self.assertIn(line + "\n", shown)
        for option in (("-h", "a\n6.6.6.6 b"), ("--domainname", "a b"), ("--dns-search", "a\nnameserver 6.6.6.6"),
                       ("--dns-option", "a b"), ("--add-host", "a b:1.2.3.4"), ("--network-alias", "a\tb")):
            shown = self.run_(*option, "busybox", "true", check=False)
            self.assertEqual((shown.code, option[0] in shown.err), (125, True), str(shown))
        self.assertEqual(self.run_("--no-hosts", "busybox", "sh", "-c", "cat /etc/hosts 2>/dev/null | wc -c").out.strip(), "0")

    # --- what cannot be ---

    def test_where_a_bridge_is_impossible_there_is_loopback_and_one_warning(self):
        # A place for the addresses that cannot be written to: nothing that another try would cure.
        readonly = ["unshare", "-m", "sh", "-c", f'mkdir -p {self.runroot}; mount -t tmpfs -o ro none {self.runroot}; exec "$@"', "sh"]
        shown = run([*readonly, *self.img_.argv("run", "--rm", "busybox", "ip", "-o", "link")], env=self.img_.env)
        self.assertEqual(len(shown.out.splitlines()), 1)
        self.assertEqual(shown.err.count("warning"), 1, shown.err)
        self.assertIn("CAP_NET_ADMIN", shown.err)
        shown = run([*readonly, *self.img_.argv("run", "--rm", "--net", "bridge", "busybox", "true")], env=self.img_.env, check=False)
        self.assertEqual((shown.code, "warning" in shown.err), (125, False), str(shown))

    def test_without_the_right_to_administer_networks_there_is_loopback_and_one_warning(self):
        harness.require("setpriv")
        weak = ["setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin"]
        shown = run([*weak, *self.img_.argv("run", "--rm", "busybox", "ip", "-o", "link")], env=self.img_.env)
        self.assertEqual(re.findall(r"^\d+: (\w+):.*\bUP\b", shown.out, re.M), ["lo"], str(shown))
        self.assertEqual(shown.err.count("warning"), 1, shown.err)
        self.assertIn("CAP_NET_ADMIN", shown.err)
        shown = run([*weak, *self.img_.argv("run", "--rm", "--net", "none", "busybox", "ip", "-o", "link")], env=self.img_.env)
        self.assertEqual((re.findall(r"^\d+: (\w+):.*\bUP\b", shown.out, re.M), shown.err), (["lo"], ""), str(shown))
        shown = run([*weak, *self.img_.argv("run", "--rm", "--net", "bridge", "busybox", "true")], env=self.img_.env, check=False)
        self.assertEqual((shown.code, "EPERM" in shown.err), (125, True), str(shown))
        context = self.dir / "ctx"
        context.mkdir()
        (context / "Dockerfile").write_text("FROM busybox\nRUN ip -o link > /default\nRUN --network=none ip -o link > /none\n")
        shown = run([*weak, *self.img_.argv("build", "-t", "app", context)], env=self.img_.env)
        self.assertEqual(shown.err.count("no network but loopback"), 1, shown.err)
        self.assertEqual(self.run_("--net", "none", "app", "sh", "-c", "cat /default /none | grep -c LOOPBACK,UP").out, "2\n")

    def test_without_nft_there_is_a_bridge_and_one_warning_that_names_the_package(self):
        path = self.dir / "bin"
        path.mkdir()
        hide = ["unshare", "-m", "sh", "-c", 'for f in /usr/sbin/nft /sbin/nft; do mount --bind /dev/null $f; done; exec "$@"', "sh"]
        shown = run([*hide, *self.img_.argv("run", "--rm", "busybox", "ip", "-4", "-o", "address", "show", "eth0")], env=self.img_.env)
        self.assertIn("10.89.0.2/16", shown.out)
        self.assertEqual(shown.err.count("warning"), 1, shown.err)
        self.assertIn("nftables", shown.err)

    # --- build steps ---

    def test_steps_of_a_build_reach_the_outside_unless_they_ask_for_none(self):
        self.outside()
        context = self.dir / "ctx"
        context.mkdir()
        (context / "Dockerfile").write_text(
            f"FROM busybox\nRUN timeout 3 wget -qO /got http://{OUTSIDE}/ && ip -4 -o address show eth0 > /first\n"
            "RUN ip -4 -o address show eth0 > /second\nRUN --network=none ip -o link > /none\n")
        self.img_("build", "-t", "app", context)
        shown = self.run_("--net", "none", "app", "sh", "-c", "cat /got; cat /none | wc -l; cmp /first /second && echo same; cat /first").out
        self.assertTrue(shown.startswith("outside\n1\nsame\n"), shown)
        self.assertIn("10.89.0.", shown)
        harness.wait_until(lambda: not veths(), "the build has left interfaces")

    def test_a_step_that_may_change_its_network_leaves_nothing_to_the_next(self):
        context = self.dir / "ctx"
        context.mkdir()
        (context / "Dockerfile").write_text("FROM busybox\nRUN ip address add 192.0.2.77/32 dev eth0\n"
                                            "RUN ip -4 -o address show eth0 > /second\n")
        self.img_("build", "-t", "app", "--cap-add", "NET_ADMIN", context)
        shown = self.run_("--net", "none", "app", "cat", "/second").out
        self.assertIn("10.89.0.", shown)
        self.assertNotIn("192.0.2.77", shown)

    def test_steps_at_the_same_time_have_networks_of_their_own(self):
        context = self.dir / "ctx"
        context.mkdir()
        # Both listen on the same port, and neither ends before the other listens.
        stage = "FROM busybox AS {0}\nRUN nc -l -p 7000 & ip -4 -o address show eth0 > /a; sleep 1; echo {0}\n"
        (context / "Dockerfile").write_text(stage.format("one") + stage.format("two") +
                                            "FROM busybox\nCOPY --from=one /a /one\nCOPY --from=two /a /two\n")
        self.img_("build", "-t", "app", "--jobs", "2", context)
        one, two = (re.search(r"inet (\S+)", self.run_("--net", "none", "app", "cat", f"/{n}").out).group(1) for n in ("one", "two"))
        self.assertNotEqual(one, two)
