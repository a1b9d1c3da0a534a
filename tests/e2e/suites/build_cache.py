"""--cache-to and --cache-from: what one store has built, another one need not build again."""
import json
import pathlib
import shutil
import socket
import time

from lib import harness, people, registries
from lib.harness import run

STEPS = """FROM busybox AS build
RUN cat /proc/sys/kernel/random/uuid > /made && head -c 300000 /dev/urandom > /big
FROM busybox
RUN cat /proc/sys/kernel/random/uuid > /one
COPY f /f
RUN cat /f > /two
COPY --from=build /made /made
"""
MOUNT = """FROM busybox
COPY f /f
RUN --mount=type=cache,target=/cache ls /cache > /seen; echo kept > /cache/file; mkdir -p /cache/d; ln -sf file /cache/d/l
"""
CACHE_KEY = "dev.img.cache.v1"


def blob(layout, digest):
    return pathlib.Path(layout, "blobs/sha256", digest.split(":")[1])


def manifest_of(layout):
    index = json.loads(pathlib.Path(layout, "index.json").read_text())
    return json.loads(blob(layout, index["manifests"][0]["digest"]).read_text())


def records_of(layout):
    return json.loads(blob(layout, manifest_of(layout)["config"]["digest"]).read_text())[CACHE_KEY]


def put_document(layout, document):
    data = json.dumps(document).encode()
    path = blob(layout, registries.sha256(data))
    path.write_bytes(data)
    return {"digest": registries.sha256(data), "size": len(data)}


def rewrite(layout, change):
    """Puts another config into a cache: `change` gets the document."""
    manifest = manifest_of(layout)
    config = json.loads(blob(layout, manifest["config"]["digest"]).read_text())
    change(config, manifest)
    manifest["config"].update(put_document(layout, config))
    index = json.loads(pathlib.Path(layout, "index.json").read_text())
    index["manifests"][0].update(put_document(layout, manifest))
    pathlib.Path(layout, "index.json").write_text(json.dumps(index))


def tree(folder):
    folder = pathlib.Path(folder)
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


class Case(harness.TestCase):
    def setUp(self):
        super().setUp()
        self.context = self.write({"f": "content\n", "Dockerfile": STEPS})
        self.cache = self.dir / "cache"
        self.first, self.second = self.store("first"), self.store("second")

    def store(self, name):
        """A store with the same base image: what is built on it can be the same, too."""
        base = pathlib.Path(harness.scratch()) / "base.tar"
        if not base.exists():
            self.img(self.dir / "base")("save", "-o", base, "busybox")
        program = self.img(self.dir / name, busybox=False)
        program("load", "-i", base)
        return program

    def build(self, program, *args, dockerfile=None, tag="app", **kwargs):
        return program.build(self.context, tag, "--progress", "plain", *args, dockerfile=dockerfile, cwd=self.dir,
                             **kwargs)

    def put(self, program=None, *args, **kwargs):
        return self.build(program or self.first, "--cache-to", f"type=local,dest={self.cache}", *args, **kwargs)

    def take(self, program=None, *args, **kwargs):
        return self.build(program or self.second, "--cache-from", f"type=local,src={self.cache}", *args, **kwargs)

    def assert_all_cached(self, output):
        self.assertNotIn("reason:", output.err)
        self.assertIn("7 of 7 cached", output.err)

    def ran(self, output):
        """The numbers of the steps that were executed, with their reasons."""
        return {int(line[1:].split()[0]): line.split("reason: ")[1] for line in output.err.splitlines()
                if " reason: " in line}


class Folder(Case):
    """type=local."""

    def test_another_store_builds_nothing_and_gets_the_same_image(self):
        self.put()
        output = self.take()
        self.assert_all_cached(output)
        self.assertIn(f"importing cache {self.cache}: 5 steps", output.err)
        first, second = self.first.image("app"), self.second.image("app")
        self.assertEqual(first.id, second.id)
        self.assertEqual(first.digest, second.digest)
        run(["diff", "-r", *(self.dir / name / "blobs/sha256" / first.layers[-1]["digest"][7:]
                             for name in ("first", "second"))])
        self.assertEqual(self.second("run", "--net", "none", "--rm", "app", "cat", "/f").out, "content\n")
        shutil.rmtree(self.cache)  # what was needed is here now; the layer of the other stage was not
        self.assertEqual(sorted(self.ran(self.build(self.second))), [2, 7])

    def test_a_changed_file_runs_only_what_needs_it(self):
        self.put()
        self.write({"f": "other\n"})
        output = self.take()
        # 5 COPY f, 6 RUN; the files of 7 are the same, but it stands on 6.
        self.assertEqual(sorted(self.ran(output)), [5, 6, 7])

    def test_steps_above_one_that_ran_again_are_found_by_content(self):
        dockerfile = "FROM busybox\nCOPY f {}\nRUN --network=none echo same > /size && touch -d @0 /size / /tmp\n" \
                     "RUN cat /proc/sys/kernel/random/uuid > /last\n"
        self.put(dockerfile=dockerfile.format("/f"))
        # The base, and so every key, is another one from here on, but the layers below the last step are the same.
        self.build(self.second, dockerfile=dockerfile.format("/f").split("RUN cat")[0], tag=None)
        output = self.take(dockerfile=dockerfile.format("/f"))
        self.assertEqual(self.ran(output), {})
        self.assertEqual(self.first.image("app").document["rootfs"], self.second.image("app").document["rootfs"])

    def test_exports_are_deterministic_and_follow_the_build(self):
        self.put()
        before = tree(self.cache)
        self.assertIn("unchanged", self.put().err)
        self.assertEqual(tree(self.cache), before)
        self.take(self.second, "--cache-to", f"type=local,dest={self.dir}/copy")
        self.assertEqual(tree(self.dir / "copy"), before)
        self.write({"f": "other\n"})
        self.put()
        after = tree(self.cache)
        self.assertNotEqual(after, before)
        manifest = manifest_of(self.cache)
        wanted = {d["digest"] for d in [manifest["config"], *manifest["layers"]]}
        index = json.loads((self.cache / "index.json").read_text())
        wanted.add(index["manifests"][0]["digest"])
        # Nothing of the first export stays that nobody refers to.
        self.assertEqual({"sha256:" + p.name for p in (self.cache / "blobs/sha256").iterdir()}, wanted)
        self.assertEqual(set(manifest["annotations"]), {"dev.img.cache"})

    def test_other_images_of_the_folder_stay(self):
        self.put()
        self.build(self.first, "--cache-to", f"type=local,dest={self.cache},tag=other", dockerfile=MOUNT)
        index = json.loads((self.cache / "index.json").read_text())
        names = [m["annotations"]["org.opencontainers.image.ref.name"] for m in index["manifests"]]
        self.assertEqual(sorted(names), ["latest", "other"])
        self.assert_all_cached(self.take(dockerfile=STEPS))

    def test_mode_min_has_the_layers_of_the_result_only(self):
        self.build(self.first, "--cache-to", f"type=local,dest={self.cache},mode=min")
        self.assertEqual(len(manifest_of(self.cache)["layers"]), 4)
        output = self.take()
        # The build stage runs again, makes another file, and so does the step that copies it.
        ran = self.ran(output)
        self.assertEqual(sorted(ran), [2, 7])
        self.assertEqual(ran[2], f"layer not exported to cache {self.cache}")

    def test_compressions(self):
        for kind, suffix in (("none", "tar"), ("gzip", "gzip"), ("zstd", "zstd")):
            with self.subTest(kind):
                cache = self.dir / kind
                self.build(self.first, "--cache-to", f"type=local,dest={cache},compression={kind}")
                self.assertTrue(all(l["mediaType"].endswith(suffix) for l in manifest_of(cache)["layers"]))
                other = self.store("of-" + kind)
                self.assert_all_cached(self.build(other, "--cache-from", f"type=local,src={cache}"))
                self.assertEqual(other.image("app").digest, self.first.image("app").digest)

    def test_what_is_not_needed_is_not_fetched(self):
        self.put()
        count = len(list((self.dir / "second/blobs/sha256").iterdir()))
        output = self.take(self.second, "-o", "type=cacheonly", tag=None)
        self.assert_all_cached(output)
        self.assertEqual(len(list((self.dir / "second/blobs/sha256").iterdir())), count)
        # A step more on top needs the layers of its own stage: 4 and its own, not the one of the other stage.
        self.take(self.second, "-o", "type=cacheonly", tag=None, dockerfile=STEPS + "RUN cat /made\n")
        self.assertEqual(len(list((self.dir / "second/blobs/sha256").iterdir())), count + 5)

    def test_a_result_that_is_only_cached_again_needs_nothing(self):
        self.put()
        count = len(list((self.dir / "second/blobs/sha256").iterdir()))
        output = self.take(self.second, "-o", "type=cacheonly", "--cache-to", f"type=local,dest={self.cache}", tag=None)
        self.assertIn("unchanged", output.err)
        self.assertEqual(len(list((self.dir / "second/blobs/sha256").iterdir())), count)

    def test_explain_and_dry_run_tell_of_the_cache(self):
        self.put()
        output = self.second("build", "--network", "host", "--dry-run", "--cache-from", f"type=local,src={self.cache}",
                             self.context)
        self.assertIn("0 of 7 steps would run", output.out)
        plan = json.loads(self.second("build", "--print=plan", "--cache-from", f"type=local,src={self.cache}",
                                      self.context).out)
        self.assertFalse(all(step["cached"] for step in plan["steps"]))
        output = self.take(self.second, "--explain=all")
        self.assertIn(f"hit: from cache {self.cache}", output.err)

    def test_no_cache_and_ttl_count_for_it_too(self):
        self.put()
        self.assertEqual(len(self.ran(self.take(self.second, "--no-cache", tag=None))), 5)
        third = self.store("third")
        ran = self.ran(self.take(third, "--cache-ttl", "0s"))
        self.assertEqual([ran[2], ran[4]], ["older than --cache-ttl"] * 2)
        self.assertEqual(len(ran), 5)

    def test_a_folder_of_something_else_is_left_alone(self):
        self.cache.mkdir()
        (self.cache / "precious").write_text("x")
        output = self.put()
        self.assertIn("is neither empty nor an OCI layout", output.err)
        output = self.build(self.first, "--cache-to", f"type=local,dest={self.cache},ignore-error=false", check=False)
        self.assertNotEqual(output.code, 0)
        self.assertEqual(tree(self.cache), {"precious": b"x"})

    def test_a_folder_that_is_not_there_is_a_warning(self):
        output = self.take()
        self.assertIn(f"cache {self.cache}: ", output.err)
        self.assertEqual(len(self.ran(output)), 5)

    def test_several_platforms_are_in_one_export(self):
        dockerfile = "FROM scratch\nARG TARGETARCH\nCOPY f /f-$TARGETARCH\n"
        both = ("--platform", "linux/amd64,linux/arm64")
        self.put(None, *both, dockerfile=dockerfile)
        self.assertEqual(len(records_of(self.cache)["steps"]), 2)
        output = self.take(None, *both, dockerfile=dockerfile)
        self.assertEqual(self.ran(output), {})
        indexes = [json.loads((self.dir / name / "index.json").read_text())["manifests"] for name in ("first", "second")]
        self.assertEqual(indexes[0][-1]["digest"], indexes[1][-1]["digest"])

    def test_an_ordinary_user_shares_with_root(self):
        person = people.Ordinary()
        program = person.img()
        program("load", "-i", pathlib.Path(harness.scratch()) / "base.tar")
        self.put()
        run(["chmod", "-R", "a+rX", self.dir])
        shutil.copytree(self.context, person.home / "ctx")
        run(["chown", "-R", f"{person.uid}:{person.gid}", person.home / "ctx"])
        output = program("build", "--network", "host", "--progress", "plain", "-t", "app", "--cache-from",
                         f"type=local,src={self.cache}", "--cache-to", f"type=local,dest={person.home}/mine",
                         person.home / "ctx")
        self.assert_all_cached(output)
        self.assertEqual(tree(person.home / "mine"), tree(self.cache))


class Damage(Case):
    """Caches that are not whole, or not honest."""

    def setUp(self):
        super().setUp()
        self.put()

    def layer_of(self, step):
        """The blob of the step's layer: the records are in the order of the plan."""
        manifest = manifest_of(self.cache)
        return blob(self.cache, manifest["layers"][records_of(self.cache)["steps"][step]["layer"]]["digest"])

    def assert_runs_again(self, output, number, reason):
        self.assertIn(number, self.ran(output), output.err)
        self.assertIn(reason, self.ran(output)[number])
        self.assertEqual(self.second("run", "--net", "none", "--rm", "app", "cat", "/f").out, "content\n")

    def test_a_missing_blob_is_a_miss(self):
        self.layer_of(2).unlink()
        self.assert_runs_again(self.take(), 5, "layer not exported to cache")

    def test_a_blob_that_was_cut_is_a_miss(self):
        path = self.layer_of(2)
        path.write_bytes(path.read_bytes()[:-3])
        self.assert_runs_again(self.take(), 5, "layer not exported to cache")

    def test_a_damaged_blob_is_noticed_and_its_step_runs(self):
        path = self.layer_of(2)
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 0x20
        path.write_bytes(data)
        output = self.take(self.second, "--cache-to", f"type=local,dest={self.cache}")
        self.assert_runs_again(output, 5, "layer damaged in cache")
        self.assertIn(f"warning: cache {self.cache}: ", output.err)
        # The export of a build that has noticed it heals the folder.
        self.assert_all_cached(self.take(self.store("third")))

    def test_a_layer_that_is_not_what_its_diff_id_says_is_refused(self):
        def swap(config, manifest):
            manifest["layers"][1], manifest["layers"][2] = manifest["layers"][2], manifest["layers"][1]
        rewrite(self.cache, swap)
        output = self.take()
        self.assertEqual(sorted(set(self.ran(output)) & {4, 5}), [4, 5])
        self.assertIn("layer damaged in cache", output.err)
        self.assertEqual(self.second("run", "--net", "none", "--rm", "app", "cat", "/f").out, "content\n")

    def test_hostile_documents_are_a_warning(self):
        def records(change):
            return lambda config, manifest: change(config[CACHE_KEY])
        for name, change in {
            "a layer that is not there": records(lambda r: r["steps"][0].update(layer=99)),
            "a negative layer": records(lambda r: r["steps"][0].update(layer=-1)),
            "a path as key": records(lambda r: r["steps"][0].update(keys=["../../x"])),
            "a time of control characters": records(lambda r: r["steps"][0].update(created="\x1b[2J")),
            "steps of another type": records(lambda r: r.update(steps={})),
            "more diff ids": lambda config, manifest: config["rootfs"]["diff_ids"].append("sha256:" + "0" * 64),
            "no rootfs": lambda config, manifest: config.pop("rootfs"),
        }.items():
            with self.subTest(name):
                copy = self.dir / "hostile"
                shutil.rmtree(copy, ignore_errors=True)
                shutil.copytree(self.cache, copy)
                rewrite(copy, change)
                output = self.build(self.second, "--cache-from", f"type=local,src={copy}", "-o", "type=cacheonly",
                                    "--no-cache-filter", "nothing", "--dry-run", tag=None)
                self.assertIn(f"cache {copy}: ", output.err)
                self.assertNotIn("\x1b[2J", output.err)
                self.assertIn("5 of 7 steps would run", output.out)

    def test_documents_that_are_no_json_or_other_files_are_a_warning(self):
        for name, spoil in {
            "index": lambda: (self.cache / "index.json").write_text("{"),
            "a link": lambda: ((self.cache / "index.json").unlink(), (self.cache / "index.json").symlink_to("/dev/zero")),
            "a folder": lambda: ((self.cache / "index.json").unlink(), (self.cache / "index.json").mkdir()),
        }.items():
            with self.subTest(name):
                spoil()
                output = self.take(self.second, "--dry-run", tag=None)
                self.assertIn(f"cache {self.cache}: ", output.err)


class Inline(Case):
    """type=inline."""

    def test_an_image_brings_its_own_records(self):
        self.build(self.first, "--cache-to", "type=inline")
        image = self.first.image("app")
        self.assertEqual(len(image.document[CACHE_KEY]["steps"]), 4)
        self.first("save", "--format", "oci-dir", "-o", self.dir / "saved", "app")
        output = self.build(self.second, "--cache-from", f"type=local,src={self.dir}/saved", "--cache-to", "type=inline")
        self.assertEqual(sorted(self.ran(output)), [2, 7])

    def test_both_ways_give_the_same_image(self):
        dockerfile = "FROM busybox\nRUN cat /proc/sys/kernel/random/uuid > /one\nCOPY f /f\nRUN cat /f > /two\n"
        self.build(self.first, "--build-arg", "BUILDKIT_INLINE_CACHE=1", dockerfile=dockerfile)
        self.first("save", "-o", self.dir / "app.tar", "app")
        self.second("load", "-i", self.dir / "app.tar")
        # By the name of an image that is here; no registry answers at that place, which is a warning.
        self.second("tag", "app", "127.0.0.1:1/app")
        self.second("rmi", "app")
        output = self.build(self.second, "--cache-from", "127.0.0.1:1/app", "--cache-to", "type=inline", "--retry", "0")
        self.assertEqual(self.ran(output), {})
        self.assertIn("cache 127.0.0.1:1/app: ", output.err)
        self.assertEqual(self.first.image("app").id, self.second.image("app").id)

    def test_what_is_built_on_it_has_other_records(self):
        self.build(self.first, "--cache-to", "type=inline")
        self.build(self.first, dockerfile="FROM app\nRUN true\n", tag="child")
        self.assertNotIn(CACHE_KEY, self.first.image("child").document)
        self.assertNotIn(CACHE_KEY, self.first("inspect", "child").out)

    def test_a_squashed_image_has_no_records(self):
        self.build(self.first, "--cache-to", "type=inline", "--squash")
        self.assertNotIn(CACHE_KEY, self.first.image("app").document)


class Mounts(Case):
    """mounts=true."""

    def test_cache_mounts_travel_into_empty_ones(self):
        self.build(self.first, "--cache-to", f"type=local,dest={self.cache},mounts=true", dockerfile=MOUNT)
        self.assertEqual(len(records_of(self.cache)["mounts"]), 1)
        self.write({"f": "other\n"})
        output = self.take(dockerfile=MOUNT)
        self.assertEqual(sorted(self.ran(output)), [2, 3])
        seen = self.second("run", "--net", "none", "--rm", "app", "cat", "/seen").out
        self.assertEqual(seen, "d\nfile\n")
        # What is there already is not touched.
        third = self.store("third")
        self.build(third, dockerfile="FROM busybox\nRUN --mount=type=cache,target=/cache echo mine > /cache/mine\n")
        self.take(third, dockerfile=MOUNT)
        self.assertEqual(third("run", "--net", "none", "--rm", "app", "cat", "/seen").out, "mine\n")

    def test_without_the_option_they_stay(self):
        self.put(dockerfile=MOUNT)
        self.assertNotIn("mounts", records_of(self.cache))
        self.write({"f": "other\n"})
        self.take(dockerfile=MOUNT)
        self.assertEqual(self.second("run", "--net", "none", "--rm", "app", "cat", "/seen").out, "")

    def test_one_that_holds_a_secret_stays(self):
        dockerfile = "FROM busybox\nRUN --mount=type=secret,id=s --mount=type=cache,target=/a cp /run/secrets/s /a/kept\n" \
                     "RUN --mount=type=cache,target=/b echo harmless > /b/file\n"
        secret = self.dir / "secret"
        secret.write_text("bytes of a secret")

        def put(*args, guard="error", **kwargs):
            shutil.rmtree(self.cache, ignore_errors=True)
            return self.build(self.first, "--secret", f"id=s,src={secret}", "--secret-guard", guard, "--cache-to",
                              ",".join([f"type=local,dest={self.cache},mounts=true,compression=none", *args]),
                              dockerfile=dockerfile, **kwargs)

        output = put()
        self.assertIn('a cache mount holds the secret "s": found in /kept', output.err)
        self.assertEqual(len(records_of(self.cache)["mounts"]), 1)
        self.assertFalse([p for p, data in tree(self.cache).items() if secret.read_bytes() in data])
        self.assertNotEqual(put("ignore-error=false", check=False).code, 0)
        self.assertIn("holds the secret", put(guard="warn").err)
        self.assertEqual(len(records_of(self.cache)["mounts"]), 2)

    def test_a_damaged_one_is_left_out(self):
        self.build(self.first, "--cache-to", f"type=local,dest={self.cache},mounts=true", dockerfile=MOUNT)
        manifest = manifest_of(self.cache)
        path = blob(self.cache, manifest["layers"][records_of(self.cache)["mounts"][0]["layer"]]["digest"])
        path.write_bytes(b"\0" * path.stat().st_size)
        self.write({"f": "other\n"})
        self.take(dockerfile=MOUNT)
        self.assertEqual(self.second("run", "--net", "none", "--rm", "app", "cat", "/seen").out, "")


class Remote(Case):
    """type=registry."""

    def registry(self, **kwargs):
        registry = registries.Registry(**kwargs)
        self.addCleanup(registry.stop)
        return registry

    def test_another_store_builds_nothing_and_gets_the_same_image(self):
        registry = self.registry(access_log=True)
        ref = f"{registry.host}/team/app:cache"
        output = self.build(self.first, "--cache-to", ref)
        self.assertIn(f"exporting cache to {ref}: 5 layers, 5 written", output.err)
        asked = len(registry.requests())
        self.assertIn("unchanged", self.build(self.first, "--cache-to", f"type=registry,ref={ref}").err)
        again = registry.requests(asked)
        self.assertFalse([r for r in again if r[0] in ("POST", "PATCH", "PUT")], again)
        asked = len(registry.requests())
        output = self.build(self.second, "--cache-from", ref, "-o", "type=cacheonly", tag=None)
        self.assert_all_cached(output)
        layers = {l["digest"] for l in registry.get_manifest("team/app", "cache")["layers"]}
        fetched = [r for r in registry.requests(asked) if r[0] == "GET" and r[1].split("/")[-1] in layers]
        self.assertEqual(fetched, [])
        self.assert_all_cached(self.build(self.second, "--cache-from", ref))
        self.assertEqual(self.first.image("app").digest, self.second.image("app").digest)
        fetched = [r for r in registry.requests(asked) if r[0] == "GET" and r[1].split("/")[-1] in layers]
        self.assertEqual(len(fetched), 4)  # the result's layers, once each

    def test_with_users_over_tls(self):
        registry = self.registry(users={"me": "secret"}, tls=True)
        certificates = self.dir / "certs"
        certificates.mkdir()
        shutil.copy(registry.ca, certificates / "ca.crt")
        access = ("--creds", "me:secret", "--cert-dir", str(certificates))
        self.build(self.first, "--cache-to", f"{registry.host}/app:cache", *access)
        self.assert_all_cached(self.build(self.second, "--cache-from", f"{registry.host}/app:cache", *access))
        output = self.build(self.store("third"), "--cache-from", f"{registry.host}/app:cache", "--cert-dir", certificates)
        self.assertEqual(len(self.ran(output)), 5)
        self.assertIn("unauthorized", output.err.lower())

    def test_a_layer_that_went_meanwhile_is_a_miss(self):
        registry = self.registry()
        ref = f"{registry.host}/app:cache"
        self.build(self.first, "--cache-to", ref)
        document = json.loads(registry.request(
            "GET", "/v2/app/blobs/" + registry.get_manifest("app", "cache")["config"]["digest"])[2])
        layers = registry.get_manifest("app", "cache")["layers"]
        registry.delete("app", "blobs", layers[document[CACHE_KEY]["steps"][2]["layer"]]["digest"])
        output = self.build(self.second, "--cache-from", ref)
        self.assertIn("layer gone from cache", self.ran(output)[5])
        self.assertEqual(self.second("run", "--net", "none", "--rm", "app", "cat", "/f").out, "content\n")

    def test_an_unreachable_registry_is_a_warning(self):
        where = f"127.0.0.1:{registries.free_port()}/app:cache"
        output = self.build(self.first, "--cache-from", where, "--cache-to", where, "--retry", "0")
        self.assertIn(f"cache {where}: ", output.err)
        self.assertIn(f"exporting the cache to {where}: ", output.err)
        self.assertEqual(len(self.ran(output)), 5)
        output = self.build(self.first, "--cache-to", f"type=registry,ref={where},ignore-error=false", "--retry", "0",
                            check=False)
        self.assertNotEqual(output.code, 0)

    def test_a_registry_that_never_answers_costs_seconds(self):
        with socket.create_server(("127.0.0.1", 0)) as silent:
            where = f"127.0.0.1:{silent.getsockname()[1]}/app:cache"
            began = time.monotonic()
            output = self.build(self.first, "--cache-from", where, "--retry", "0", "-o", "type=cacheonly", tag=None)
            self.assertLess(time.monotonic() - began, 20)
        self.assertIn(f"cache {where}: ", output.err)
        self.assertEqual(len(self.ran(output)), 5)
        where = f"127.0.0.1:{registries.free_port()}/app:cache"
        began = time.monotonic()
        self.assertIn(f"cache {where}: ", self.build(self.first, "--cache-from", where).err)
        self.assertLess(time.monotonic() - began, 5)

    def test_inline_records_come_from_the_image_that_was_pushed(self):
        registry = self.registry()
        name = f"{registry.host}/app:1"
        dockerfile = "FROM busybox\nRUN cat /proc/sys/kernel/random/uuid > /one\nCOPY f /f\n"
        self.build(self.first, "--cache-to", "type=inline", dockerfile=dockerfile, tag=name)
        self.first("push", name)
        output = self.build(self.second, "--cache-from", name, "--cache-to", "type=inline", dockerfile=dockerfile,
                            tag=name)
        self.assertEqual(self.ran(output), {})
        self.assertEqual(self.first.image(name).id, self.second.image(name).id)
