// The direction of dependencies (README.md, "How the code is laid out"): every #include "..." of
// the product is an arrow between two folders, and only these arrows exist. Everything may include
// base.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <string>
#include <vector>

namespace {

namespace fs = std::filesystem;

const std::map<std::string, std::set<std::string>>& allowedArrows() {
  static const std::map<std::string, std::set<std::string>> arrows = {
      {"base", {"base"}},
      {"parser", {"parser", "base"}},
      {"store", {"store", "base"}},
      {"runtime", {"runtime", "base"}},
      {"network", {"network", "base"}},
      {"registry", {"registry", "store", "base"}},
      {"distribution", {"distribution", "store", "base"}},
      {"builder", {"builder", "parser", "store", "runtime", "network", "distribution", "base"}},
      {"cli", {"cli", "builder", "parser", "store", "runtime", "network", "distribution", "base"}},
  };
  return arrows;
}

// The file and line, so that the failure is one click away.
struct Include {
  std::string where;
  std::string path;
};

std::vector<Include> includesOf(const fs::path& file) {
  static const std::regex pattern{R"re(^\s*#\s*include\s+"([^"]+)")re"};
  std::vector<Include> includes;
  std::ifstream in{file};
  std::string line;
  for (int number = 1; std::getline(in, line); ++number) {
    std::smatch match;
    if (std::regex_search(line, match, pattern)) {
      includes.push_back({file.string() + ":" + std::to_string(number), match[1]});
    }
  }
  return includes;
}

std::vector<fs::path> sourcesOf(const std::string& folder) {
  std::vector<fs::path> files;
  const fs::path root = fs::path{IMG_SOURCE_DIR} / folder;
  if (!fs::is_directory(root)) return files;
  for (const auto& entry : fs::recursive_directory_iterator{root}) {
    const std::string extension = entry.path().extension().string();
    if (extension == ".h" || extension == ".cc" || extension == ".inc") files.push_back(entry);
  }
  return files;
}

TEST(Layering, FoldersOnlyIncludeWhatTheArrowsAllow) {
  for (const auto& [folder, allowed] : allowedArrows()) {
    for (const fs::path& file : sourcesOf(folder)) {
      for (const Include& include : includesOf(file)) {
        const auto slash = include.path.find('/');
        // A name without a folder is a generated file of the build (seccomp_default.inc).
        if (slash == std::string::npos) continue;
        EXPECT_TRUE(allowed.contains(include.path.substr(0, slash)))
            << include.where << ": " << folder << "/ may not include \"" << include.path << '"';
      }
    }
  }
}

TEST(Layering, TheParserOpensNoFilesAndStartsNoProcesses) {
  for (const fs::path& file : sourcesOf("parser")) {
    for (const Include& include : includesOf(file)) {
      EXPECT_NE(include.path, "base/process.h") << include.where;
      EXPECT_NE(include.path, "base/sys.h") << include.where;
    }
  }
}

bool namesAHeavyLibrary(const fs::path& header) {
  static const std::regex heavy{R"re(^\s*#\s*include\s+<(nlohmann/json\.hpp|CLI/.*|spdlog/.*)>)re"};
  std::ifstream in{header};
  for (std::string line; std::getline(in, line);) {
    if (std::regex_search(line, heavy)) return true;
  }
  return false;
}

// json.hpp, CLI11 and spdlog cost seconds per translation unit, so headers name only
// nlohmann/json_fwd.hpp. A header that is a private part of a few .cc files of its own folder may
// have one: no other header or folder includes it.
TEST(Layering, HeavyLibrariesStayInSourceFiles) {
  std::set<std::string> heavyHeaders;
  for (const auto& [folder, allowed] : allowedArrows()) {
    for (const fs::path& file : sourcesOf(folder)) {
      if (file.extension() == ".h" && namesAHeavyLibrary(file)) {
        heavyHeaders.insert(folder + "/" + file.filename().string());
      }
    }
  }
  for (const auto& [folder, allowed] : allowedArrows()) {
    for (const fs::path& file : sourcesOf(folder)) {
      for (const Include& include : includesOf(file)) {
        if (!heavyHeaders.contains(include.path)) continue;
        EXPECT_NE(file.extension(), ".h") << include.where << ": " << include.path;
        EXPECT_TRUE(include.path.starts_with(folder + "/"))
            << include.where << ": " << include.path;
      }
    }
  }
}

}  // namespace
