#include "builder/explain.h"

#include <gtest/gtest.h>

namespace img::builder {
namespace {

FileInput file(std::string path, std::string_view content, mode_t mode = 0644) {
  return {std::move(path), S_IFREG | mode, content.size(), Digest::of(content), 0, {}};
}

// "kind name field: before -> after" per change.
std::vector<std::string> texts(const std::vector<Change>& changes) {
  std::vector<std::string> out;
  for (const Change& change : changes) {
    out.push_back(fmt::format("{} {} {}: {} -> {}", change.kind, change.name, change.field,
                              change.before.substr(0, 40), change.after.substr(0, 40)));
  }
  return out;
}

struct Case {
  std::string name;
  std::vector<Input> before, now;
  std::string change, text;
};
void PrintTo(const Case& c, std::ostream* out) {
  *out << c.name;
}
class OneInput : public testing::TestWithParam<Case> {};
TEST_P(OneInput, IsNamedWithBothValues) {
  InputList before, now;
  before.inputs = GetParam().before;
  now.inputs = GetParam().now;
  const std::vector<Change> changes = compareInputs(before, now);
  EXPECT_EQ(texts(changes), std::vector<std::string>{GetParam().change});
  EXPECT_EQ(shortText(changes), GetParam().text);
}
const std::vector<Case> kCases{
    {"Instruction",
     {{"instruction", "RUN", "make  -j2 all", ""}},
     {{"instruction", "RUN", "make -j4 all", ""}},
     "instruction RUN changed: -j2 -> -j4",
     "instruction changed"},
    {"WordAdded",
     {{"instruction", "RUN", "make all", ""}},
     {{"instruction", "RUN", "make -k all", ""}},
     "instruction RUN changed:  -> -k",
     "instruction changed"},
    {"BlanksOnly",
     {{"instruction", "RUN", "echo 'a  b'", ""}},
     {{"instruction", "RUN", "echo 'a b'", ""}},
     "instruction RUN changed: echo 'a  b' -> echo 'a b'",
     "instruction changed"},
    {"Arg",
     {{"arg", "VERSION", "1", ""}},
     {{"arg", "VERSION", "2", ""}},
     "arg VERSION changed: 1 -> 2",
     "arg VERSION changed"},
    {"ArgBecameEnv",
     {{"arg", "V", "1", ""}},
     {{"env", "V", "2", ""}},
     "env V changed: 1 -> 2",
     "env V changed"},
    {"ArgAdded", {}, {{"arg", "V", "1", ""}}, "arg V added:  -> 1", "arg V added"},
    {"EnvRemoved", {{"env", "V", "1", ""}}, {}, "env V removed: 1 -> ", "env V removed"},
    {"SecretArg",
     {{"arg", "NPM_TOKEN", "sha256:1", ""}},
     {{"arg", "NPM_TOKEN", "sha256:2", ""}},
     "arg NPM_TOKEN changed: *** -> ***",
     "arg NPM_TOKEN changed"},
    {"OrderOfVariables",
     {{"env", "A", "1", ""}, {"env", "B", "1", ""}},
     {{"env", "B", "1", ""}, {"env", "A", "1", ""}},
     "env order changed: A B -> B A",
     "env order changed"},
    {"MovedTag",
     {{"base", "debian:12", "k1", "sha256:aa"}},
     {{"base", "debian:12", "k2", "sha256:bb"}},
     "base debian:12 changed: sha256:aa -> sha256:bb",
     "base debian:12 changed"},
    {"AnotherBase",
     {{"base", "debian:11", "k1", "sha256:aa"}},
     {{"base", "debian:12", "k2", "sha256:bb"}},
     "base debian:12 changed: debian:11 sha256:aa -> debian:12 sha256:bb",
     "base debian:12 changed"},
    {"OneOfTwoImages",
     {{"base", "debian:12", "k1", "d"}, {"base", "busybox:1", "k2", "b"}},
     {{"base", "debian:12", "k1", "d"}, {"base", "busybox:2", "k3", "c"}},
     "base busybox:2 changed: busybox:1 b -> busybox:2 c",
     "base busybox:2 changed"},
    {"Stage",
     {{"stage", "build", "1", ""}},
     {{"stage", "build", "2", ""}},
     "stage build changed: 1 -> 2",
     "stage build changed"},
    {"Mount",
     {{"mount", "/src", "bind ro", ""}},
     {{"mount", "/src", "bind rw", ""}},
     "mount /src changed: bind ro -> bind rw",
     "mount /src changed"},
    {"Url",
     {{"url", "http://h/f", "etag 1", ""}},
     {{"url", "http://h/f", "etag 2", ""}},
     "url http://h/f changed: etag 1 -> etag 2",
     "url http://h/f changed"},
    {"Platform",
     {{"platform", "", "linux/amd64", ""}},
     {{"platform", "", "linux/arm64", ""}},
     "platform  changed: linux/amd64 -> linux/arm64",
     "platform changed"},
    {"User",
     {{"user", "", "a", ""}},
     {{"user", "", "b", ""}},
     "user  changed: a -> b",
     "user changed"},
};
INSTANTIATE_TEST_SUITE_P(Kinds, OneInput, testing::ValuesIn(kCases),
                         [](const auto& test) { return test.param.name; });

TEST(CompareInputs, SaysNothingOfTheParentAndOfWhatIsTheSame) {
  InputList before, now;
  before.add("parent", "", "1");
  now.add("parent", "", "2");
  before.add("user", "", "x");
  now.add("user", "", "x");
  EXPECT_TRUE(compareInputs(before, now).empty());
}

TEST(CompareInputs, NamesEveryFileAndWhatAboutItChanged) {
  InputList before, now;
  before.files = {file("content", "old"),     {"link", S_IFLNK | 0777, 0, {}, 0, "a"},
                  file("mode", "same", 0755), file("removed", ""),
                  file("same", "same"),       file("type", ""),
                  file("xattr", "")};
  now.files = {file("added", ""),
               file("content", "new!"),
               {"link", S_IFLNK | 0777, 0, {}, 0, "b"},
               file("mode", "same", 0775),
               file("same", "same"),
               {"type", S_IFDIR | 0755, 0, {}, 0, {}},
               {"xattr", S_IFREG | 0644, 0, Digest::of(""), 5, {}}};
  const std::vector<Change> changes = compareInputs(before, now);
  EXPECT_EQ(texts(changes),
            (std::vector<std::string>{
                "file added added:  -> file",
                fmt::format("file content content: {} -> {}", Digest::of("old").hex().substr(0, 40),
                            Digest::of("new!").hex().substr(0, 40)),
                "file link link: a -> b", "file mode mode: 0755 -> 0775",
                "file removed removed: file -> ", "file type type: file -> directory",
                "file xattr xattr: none -> 0000000000000005"}));
  EXPECT_EQ(changes[1].bytesBefore, 3U);
  EXPECT_EQ(changes[1].bytesAfter, 4U);
  EXPECT_EQ(shortText(changes), "7 files changed");
}

TEST(ShortText, CountsThingsAndNotTheirFields) {
  InputList before, now;
  before.files = {file("f", "1", 0644)};
  now.files = {file("f", "2", 0755)};
  const std::vector<Change> file = compareInputs(before, now);
  EXPECT_EQ(file.size(), 2U);
  EXPECT_EQ(shortText(file), "f changed");
  now.add("arg", "V", "1");
  EXPECT_EQ(shortText(compareInputs(before, now)), "2 inputs changed");
  EXPECT_EQ(compareInputs(before, now).front().kind, "arg");
}

class ExplainMissTest : public testing::Test {
 protected:
  ExplainMissTest()
      : layout_(store::Layout::open(temp_.path() + "/store")), cache_(layout_), inputs_(layout_) {
    record_.place = {"/Dockerfile", "build", "COPY", 1, "COPY . /"};
  }
  std::string hint(std::vector<FileInput> before, std::vector<FileInput> now, bool isGit = false) {
    record_.list.files = std::move(before);
    inputs_.write({Digest::of("old")}, record_);
    record_.list.files = std::move(now);
    return explainMiss(inputs_, cache_, layout_, {record_, {Digest::of("new")}, 2, isGit})
        .miss.hint;
  }
  fs::TempDir temp_;
  store::Layout layout_;
  StepCache cache_;
  InputStore inputs_;
  InputRecord record_;
};

TEST_F(ExplainMissTest, HintsAtGitPermissionsWhereOnlyTheUmaskDiffers) {
  const std::string rest = "; --context-perms=git ignores group and other bits";
  EXPECT_EQ(hint({file("a", "", 0644)}, {file("a", "", 0664)}), "only modes differ" + rest);
  EXPECT_EQ(hint({file("s/a", "", 0755), file("t", "1")}, {file("s/a", "", 0775), file("t", "2")}),
            "only modes differ under s/" + rest);
  EXPECT_EQ(hint({file("a", "", 0755), file("t", "1")}, {file("a", "", 0775), file("t", "2")}),
            "some files differ in their modes only" + rest);
  EXPECT_EQ(hint({file("a", "", 0644)}, {file("a", "", 0755)}), "");
  EXPECT_EQ(hint({file("a", "1", 0644)}, {file("a", "2", 0664)}), "");
  EXPECT_EQ(hint({file("a", "", 0644)}, {file("a", "", 0664)}, true), "");
}

TEST_F(ExplainMissTest, TakesTheSameInputsUnderAnotherKeyForAnotherVersion) {
  record_.list.add("parent", "", "1");
  inputs_.write({Digest::of("old")}, record_);
  const Miss miss = explainMiss(inputs_, cache_, layout_, {record_, {Digest::of("new")}, 2}).miss;
  EXPECT_EQ(miss.reason, "first-build");
  EXPECT_EQ(miss.text, "first build with this version");
}

}  // namespace
}  // namespace img::builder
