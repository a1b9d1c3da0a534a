#include "cli/template.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <ostream>

#include "base/error.h"

namespace img::cli {
namespace {

const Json& sample() {
  static const Json kSample = Json::parse(R"({
    "Name": "/web", "Empty": "", "Zero": 0, "Pid": 1234, "Big": 12345678901, "Half": 1.5, "Whole": 3.0,
    "On": true, "Off": false, "Nil": null, "NilList": null,
    "State": {"Running": true, "Pid": 77},
    "Env": ["A=1", "B=2"], "None": [], "Nested": [[1, 2], [3], null],
    "Labels": {"tier": "web", "com.example/x": "y"}, "NoLabels": {},
    "Ports": {"80/tcp": [{"HostPort": "8080"}]}, "Html": "<a href='x'>&\"", "Tags": ["x:1", "y:2"]
  })");
  return kSample;
}

struct Case {
  std::string_view source, expected;
};
void PrintTo(const Case& c, std::ostream* out) {
  *out << c.source;
}

class TemplateText : public testing::TestWithParam<Case> {};
TEST_P(TemplateText, Prints) {
  EXPECT_EQ(Template{GetParam().source}.run(sample()), GetParam().expected);
}

constexpr Case kValues[] = {
    {"", ""},
    {"plain } text", "plain } text"},
    {"{{.Name}}", "/web"},
    {"{{ .State.Pid }}", "77"},
    {"a{{.Pid}}b{{.Pid}}c", "a1234b1234c"},
    {"{{.}}x",
     "map[Big:12345678901 Empty: Env:[A=1 B=2] Half:1.5 Html:<a href='x'>&\" "
     "Labels:map[com.example/x:y tier:web] Name:/web Nested:[[1 2] [3] <nil>] Nil:<nil> "
     "NilList:<nil> "
     "NoLabels:map[] None:[] Off:false On:true Pid:1234 Ports:map[80/tcp:[map[HostPort:8080]]] "
     "State:map[Pid:77 Running:true] Tags:[x:1 y:2] Whole:3 Zero:0]x"},
    {"{{.Nil}}", "<no value>"},
    {"{{.Env}} {{.None}} {{.NoLabels}}", "[A=1 B=2] [] map[]"},
    {"{{.Big}} {{.Half}} {{.Whole}}", "12345678901 1.5 3"},
    {"{{.On}}{{.Off}}", "truefalse"},
    {"{{$.State.Running}}", "true"},
    {"{{(index .Env 0)}}", "A=1"},
    {"{{(index (index .Ports \"80/tcp\") 0).HostPort}}", "8080"},
    {"{{.Labels.tier}}", "web"},
    // Literals.
    {"{{\"a\\tb\\n\\u00e4\\x41\\\"\"}}",
     "a\tb\nä"
     "A\""},
    {"{{`raw \\t`}}", "raw \\t"},
    {"{{1}} {{-2}} {{0x10}} {{1.25}} {{1e3}} {{'a'}}", "1 -2 16 1.25 1000 97"},
    {"{{true}} {{false}}", "true false"},
    {"{{\"}}\"}}", "}}"},
    // Comments and trim markers.
    {"a{{/* a \"comment }} */}}b", "ab"},
    {"a {{- 1 -}} b", "a1b"},
    {"a {{- /* x */ -}}\n b", "ab"},
    {"a {{-1}}", "a -1"},
    // Variables.
    {"{{$x := .Pid}}{{$x}}{{$x = 5}}{{$x}}", "12345"},
    {"{{$s := .State}}{{$s.Pid}}", "77"},
    {"{{$x := 1}}{{if true}}{{$x := 2}}{{$x}}{{end}}{{$x}}", "21"},
    {"{{$x := 1}}{{if true}}{{$x = 2}}{{end}}{{$x}}", "2"},
    // Blocks.
    {"{{if .On}}yes{{else}}no{{end}}", "yes"},
    {"{{if .Off}}yes{{else}}no{{end}}", "no"},
    {"{{if .Zero}}a{{else if .Empty}}b{{else if .None}}c{{else}}d{{end}}", "d"},
    {"{{if .NoLabels}}a{{end}}{{if .Nil}}b{{end}}{{if .Labels}}c{{end}}", "c"},
    {"{{with .State}}{{.Pid}}{{$.Pid}}{{end}}", "771234"},
    {"{{with .Nil}}x{{else}}none{{end}}", "none"},
    {"{{with $x := .Pid}}{{$x}}{{end}}", "1234"},
    {"{{with .Nil}}x{{else with .State}}{{.Pid}}{{end}}", "77"},
    {"{{range .Env}}<{{.}}>{{end}}", "<A=1><B=2>"},
    {"{{range .None}}x{{else}}empty{{end}}", "empty"},
    {"{{range .Nil}}x{{else}}empty{{end}}", "empty"},
    {"{{range $i, $e := .Env}}{{$i}}:{{$e}} {{end}}", "0:A=1 1:B=2 "},
    {"{{range $k, $v := .Labels}}{{$k}}={{$v}} {{end}}", "com.example/x=y tier=web "},
    {"{{range $e := .Env}}{{$e}}{{end}}", "A=1B=2"},
    {"{{range .Env}}{{if eq . \"B=2\"}}{{break}}{{end}}{{.}}{{end}}", "A=1"},
    {"{{range .Env}}{{if eq . \"A=1\"}}{{continue}}{{end}}{{.}}{{end}}", "B=2"},
    {"{{range .Nested}}{{range .}}{{.}}{{end}};{{end}}", "12;3;;"},
};
INSTANTIATE_TEST_SUITE_P(Language, TemplateText, testing::ValuesIn(kValues));

constexpr Case kFunctions[] = {
    {"{{and .On .Pid}} {{and .Zero .Pid}} {{or .Zero .Pid}} {{or .Zero .Empty}}", "1234 0 1234 "},
    {"{{and .Nil .Nil.Field}}", "<no value>"},  // lazy: the second is not looked at
    {"{{not .On}}{{not .Nil}}", "falsetrue"},
    {"{{eq .Pid 1234}} {{eq .Pid 1 2 1234}} {{ne .Name \"x\"}} {{eq .Nil nil}}",
     "true true true true"},
    {"{{lt 1 2}}{{le 2 2}}{{gt 1 2}}{{ge 1.5 2}}{{lt \"a\" \"b\"}}", "truetruefalsefalsetrue"},
    {"{{len .Env}} {{len .Name}} {{len .Labels}} {{len .Nil}}", "2 4 2 0"},
    {"{{index .Labels \"com.example/x\"}}|{{index .Labels \"no\"}}|{{index .NoLabels \"no\"}}",
     "y||"},
    {"{{index .Nested 0 1}}", "2"},
    {"{{slice .Name 1}} {{slice .Name 1 3}} {{slice .Env 1}}", "web we [B=2]"},
    {"{{print 1 2 \"x\" 3 4}}|{{println \"a\" 1}}", "1 2x3 4|a 1\n"},
    {"{{printf \"%s-%d-%5.1f|%-5s|%05d|%x|%q|%t|%v%%\" .Name .Pid 2.25 \"ab\" 7 255 \"q\" true "
     ".Env}}",
     "/web-1234-  2.2|ab   |00007|ff|\"q\"|true|[A=1 B=2]%"},
    {"{{html .Html}}", "&lt;a href=&#39;x&#39;&gt;&amp;&#34;"},
    {"{{js \"it's <b>\"}}", "it\\'s \\u003Cb\\u003E"},
    {"{{urlquery \"a b&c/ä\"}}", "a+b%26c%2F%C3%A4"},
    {"{{json .State}} {{json .Name}} {{json .Nil}} {{.Env | json}}",
     "{\"Pid\":77,\"Running\":true} \"/web\" null [\"A=1\",\"B=2\"]"},
    {"{{split \"a,b,c\" \",\"}} {{join .Env \"; \"}}", "[a b c] A=1; B=2"},
    {"{{title \"ab cd\"}} {{lower \"AbC\"}} {{upper \"abc\"}}", "Ab Cd abc ABC"},
    {"[{{pad \"x\" 2 1}}] [{{pad \"\" 2 1}}] {{truncate \"abcdef\" 3}} {{truncate \"ab\" 3}}",
     "[  x ] [] abc ab"},
    {"{{.Name | printf \"%s!\" | upper}}", "/WEB!"},
    {"{{len (index .Env 0)}}", "3"},
    {"{{.Labels \"tier\"}}", "web"},  // a placeholder with an argument, as `.Label "key"` of ps
};
INSTANTIATE_TEST_SUITE_P(Functions, TemplateText, testing::ValuesIn(kFunctions));

class TemplateError : public testing::TestWithParam<Case> {};
TEST_P(TemplateError, IsSaid) {
  try {
    const std::string out = Template{GetParam().source}.run(sample());
    FAIL() << "printed " << out;
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), Kind::failed);
    EXPECT_NE(error.cause().find(GetParam().expected), std::string::npos) << error.cause();
    EXPECT_TRUE(error.cause().starts_with("template: ")) << error.cause();
  }
}
constexpr Case kErrors[] = {
    {"{{.Nope}}", "no field \"Nope\"; fields here: Big, Empty"},
    {"{{.State.Nope}}", "no field \"Nope\"; fields here: Pid, Running"},
    {"{{.Name.X}}", "no field \"X\": this is a string"},
    {"{{.Nil.X}}", "this is nil"},
    {"{{.Env.X}}", "this is an array"},
    {"{{", "does not end"},
    {"{{.A", "does not end"},
    {"{{}}", "a value is missing"},
    {"{{\"a}}", "does not end"},
    {"{{/* a", "comment does not end"},
    {"{{nope .Pid}}", "no function \"nope\""},
    {"{{if .On}}x", "no {{end}}"},
    {"x{{end}}", "unexpected {{end}}"},
    {"{{if .On}}x{{else}}y{{else}}z{{end}}", "no {{end}}"},
    {"{{break}}", "outside a range"},
    {"{{$x}}", "undefined variable"},
    {"{{$x = 1}}", "undefined variable"},
    {"{{range .Pid}}{{end}}", "range can't go over"},
    {"{{index .Env 5}}", "out of range"},
    {"{{index .Env \"x\"}}", "index takes a number"},
    {"{{index .Labels 1}}", "index of a map takes a string"},
    {"{{lt \"a\" 1}}", "can't be ordered"},
    {"{{eq \"a\" 1}}", "can't be compared"},
    {"{{len .Pid}}", "len of a number"},
    {"{{slice .Name 3 1}}", "out of range"},
    {"{{printf \"%d\" .Name}}", "does not suit"},
    {"{{printf \"%s\"}}", "too few"},
    {"{{printf \"%9999999d\" 1}}", "too long"},
    {"{{not}}", "wrong number of arguments"},
    {"{{pad \"x\" 99999999 0}}", "pad takes a number"},
    {"{{.Pid 1}}", "index of a number"},
    {"{{1 2}}", "no function"},
    {"{{(.Pid}}", "not closed"},
    {"{{.Pid)}}", "unexpected"},
    {"{{\"\\z\"}}", "unknown escape"},
    {"{{1x}}", "bad number"},
    {"{{?}}", "unexpected \"?\""},
};
INSTANTIATE_TEST_SUITE_P(Mistakes, TemplateError, testing::ValuesIn(kErrors));

TEST(Template, HintsAtTheFieldThatWasMeant) {
  for (const char* source : {"{{.name}}", "{{.Nane}}"}) {
    try {
      (void)Template{source}.run(sample());
      FAIL();
    } catch (const Error& error) {
      ASSERT_EQ(error.hints().size(), 1U);
      EXPECT_EQ(error.hints()[0], "did you mean .Name?");
    }
  }
}

TEST(Template, RefusesNestingThatWouldEatTheStack) {
  std::string blocks;
  for (int i = 0; i < 100000; ++i) blocks += "{{if true}}";
  EXPECT_THROW(Template{blocks}, Error);
  const std::string parentheses(100000, '(');
  EXPECT_THROW(Template{"{{" + parentheses + "}}"}, Error);
}

TEST(Template, RunsForManyObjects) {
  const Template shape{"{{.A}}"};
  EXPECT_EQ(shape.run(Json{{"A", 1}}), "1");
  EXPECT_EQ(shape.run(Json{{"A", "x"}}), "x");
}

}  // namespace
}  // namespace img::cli
