#include "io/picturebook/packages.hpp"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <pugixml.hpp>
#include <sstream>

#include "core/error.hpp"
#include "core/log.hpp"

extern char** environ;

namespace skymm {
namespace {

namespace fs = std::filesystem;

struct Package {
  const char* name;
  const char* proof;  // a file that shows it is unpacked, under usr/share
  bool prose = false;
};
constexpr Package packages[] = {
    {"fonts-noto-color-emoji", "fonts/truetype/noto/NotoColorEmoji.ttf"},
    {"unicode-cldr-core", "unicode/cldr/common/annotations/zh.xml"},
    {"unicode-data", "unicode/emoji/emoji-test.txt"},
    {"tuxpaint-stamps-default", "tuxpaint/stamps"},
    {"ruby-gemojione", "rubygems-integration/all/gems"},
    {"fonts-wqy-zenhei", "fonts/truetype/wqy/wqy-zenhei.ttc"},
    {"fonts-dejavu-core", "fonts/truetype/dejavu/DejaVuSans-Bold.ttf"},
    {"fortunes-zh", "games/fortunes/tang300", true},
};

struct Outcome {
  int status = -1;
  std::string output;
};

// Runs a program without a shell, in `folder`; output is what it wrote to either stream.
Outcome run(const std::vector<std::string>& words, const std::string& folder) {
  int pipe_ends[2];
  const bool piped = ::pipe2(pipe_ends, O_CLOEXEC) == 0;
  check(piped, "pipe: {}", std::strerror(errno));
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addchdir_np(&actions, folder.c_str());
  posix_spawn_file_actions_adddup2(&actions, pipe_ends[1], 1);
  posix_spawn_file_actions_adddup2(&actions, pipe_ends[1], 2);
  std::vector<char*> arguments;
  for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  pid_t child = -1;
  const int error = ::posix_spawnp(&child, arguments[0], &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  ::close(pipe_ends[1]);
  Outcome outcome;
  char buffer[4096];
  for (ssize_t got; (got = ::read(pipe_ends[0], buffer, sizeof buffer)) > 0;)
    outcome.output.append(buffer, static_cast<std::size_t>(got));
  ::close(pipe_ends[0]);
  if (error) {
    outcome.output = std::strerror(error);
    return outcome;
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  outcome.status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return outcome;
}

std::string last_line(const std::string& output) {
  std::istringstream lines(output);
  std::string line, last = "no message";
  while (std::getline(lines, line))
    if (!line.empty()) last = line;
  return last;
}

fs::path find_deb(const fs::path& cache, const std::string& name) {
  std::vector<fs::path> found;
  for (const auto& entry : fs::directory_iterator(cache))
    if (entry.path().extension() == ".deb" && entry.path().filename().string().starts_with(name + "_"))
      found.push_back(entry.path());
  return found.empty() ? fs::path() : *std::ranges::max_element(found);
}

// Unpacks beside and moves into place file by file would be slow; a mark tells a whole package from an interrupted one.
void provide(const Package& package, const fs::path& cache, const fs::path& root) {
  const fs::path mark = cache / (std::string(package.name) + ".unpacked");
  if (fs::exists(mark) && fs::exists(root / "usr/share" / package.proof)) return;
  const auto unpack = [&] { return run({"dpkg-deb", "-x", find_deb(cache, package.name), root.string()}, cache); };
  Outcome outcome;
  if (find_deb(cache, package.name).empty() || (outcome = unpack()).status != 0) {
    log::info("fetching package {}", package.name);
    outcome = run({"apt-get", "download", package.name}, cache);
    check(outcome.status == 0 && !find_deb(cache, package.name).empty(),
          "package {} cannot be fetched ({}); run `apt-get update` with a network, put its .deb into {}, or name a "
          "folder with it unpacked",
          package.name, last_line(outcome.output), cache.string());
    outcome = unpack();
  }
  check(outcome.status == 0, "package {} cannot be unpacked in {} ({}); remove its .deb there and run again",
        package.name, cache.string(), last_line(outcome.output));
  const std::string stem = find_deb(cache, package.name).stem().string();
  const std::size_t first = stem.find('_'), second = stem.find('_', first + 1);
  std::ofstream(mark) << stem.substr(first + 1, second - first - 1) << '\n';
}

}  // namespace

PackageFolder fetch_packages(const std::string& cache, bool with_prose) {
  const fs::path base = fs::absolute(cache), root = base / "unpacked";
  std::error_code error;
  fs::create_directories(root, error);
  check(!error, "cannot make folder {}: {}", root.string(), error.message());
  for (const Package& package : packages)
    if (with_prose || !package.prose) provide(package, base, root);
  PackageFolder folder = use_unpacked(root.string(), with_prose);
  for (const Package& package : packages)
    if (std::ifstream mark(base / (std::string(package.name) + ".unpacked")); mark)
      std::getline(mark, folder.versions[package.name]);
  return folder;
}

PackageFolder use_unpacked(const std::string& root, bool with_prose) {
  for (const Package& package : packages)
    check((package.prose && !with_prose) || fs::exists(fs::path(root) / "usr/share" / package.proof),
          "package {} is not unpacked in {} (no usr/share/{}); run `dpkg-deb -x` on it there", package.name, root,
          package.proof);
  return {root, {}};
}

namespace {

using Names = std::map<std::u32string, std::pair<std::string, std::vector<std::string>>>;

std::u32string to_utf32(std::string_view utf8) {
  std::u32string out;
  for (std::size_t i = 0; i < utf8.size();) {
    const auto lead = static_cast<unsigned char>(utf8[i++]);
    int more = lead < 0x80 ? 0 : lead < 0xE0 ? 1 : lead < 0xF0 ? 2 : 3;
    char32_t code = more == 0 ? lead : lead & (0x3Fu >> more);
    for (; more > 0 && i < utf8.size(); --more) code = code << 6 | (static_cast<unsigned char>(utf8[i++]) & 0x3Fu);
    out += code;
  }
  return out;
}

Names read_names(const std::string& path) {
  pugi::xml_document document;
  const pugi::xml_parse_result parsed = document.load_file(path.c_str());
  check(parsed, "{}: {} at byte {}", path, parsed.description(), parsed.offset);
  Names names;
  for (const pugi::xml_node& node : document.child("ldml").child("annotations").children("annotation")) {
    auto& [name, keywords] = names[to_utf32(node.attribute("cp").value())];
    if (node.attribute("type")) {
      name = node.child_value();
      continue;
    }
    std::istringstream list(node.child_value());
    for (std::string word; std::getline(list, word, '|');) {
      const std::size_t first = word.find_first_not_of(' ');
      if (first != std::string::npos) keywords.push_back(word.substr(first, word.find_last_not_of(' ') - first + 1));
    }
  }
  return names;
}

}  // namespace

std::vector<EmojiInfo> read_emoji(const PackageFolder& packages) {
  const Names english = read_names(packages.share("unicode/cldr/common/annotations/en.xml"));
  const Names chinese = read_names(packages.share("unicode/cldr/common/annotations/zh.xml"));
  const std::string path = packages.share("unicode/emoji/emoji-test.txt");
  std::ifstream file(path);
  check(file.good(), "{} cannot be read", path);
  std::vector<EmojiInfo> out;
  std::string line, group;
  while (std::getline(file, line)) {
    if (line.starts_with("# group: ")) group = line.substr(9);
    if (line.empty() || line[0] == '#' || line.find("; fully-qualified") == std::string::npos) continue;
    std::istringstream codes(line.substr(0, line.find(';')));
    std::vector<char32_t> sequence;
    for (unsigned code = 0; codes >> std::hex >> code;)
      if (code != 0xFE0F) sequence.push_back(code);
    if (sequence.size() != 1 || group == "Flags" || group == "Component") continue;
    const auto en = english.find({sequence[0]}), zh = chinese.find({sequence[0]});
    if (en == english.end() || zh == chinese.end() || en->second.first.empty() || zh->second.first.empty()) continue;
    out.push_back({sequence[0], en->second.first, zh->second.first, en->second.second, zh->second.second, group});
  }
  return out;
}

std::vector<Stamp> read_stamps(const PackageFolder& packages) {
  std::vector<Stamp> out;
  for (const auto& entry : fs::recursive_directory_iterator(packages.share("tuxpaint/stamps"))) {
    if (entry.path().extension() != ".png" || entry.path().stem().string().ends_with("_mirror")) continue;
    std::ifstream text(fs::path(entry.path()).replace_extension(".txt"));
    Stamp stamp{entry.path().string(), {}, {}};
    std::getline(text, stamp.caption_en);
    for (std::string line; std::getline(text, line);)
      if (line.starts_with("zh_CN.utf8=")) stamp.caption_zh = line.substr(11);
    for (std::string* caption : {&stamp.caption_en, &stamp.caption_zh})
      while (!caption->empty() && (caption->back() == '\r' || caption->back() == ' ')) caption->pop_back();
    if (!stamp.caption_en.empty() || !stamp.caption_zh.empty()) out.push_back(std::move(stamp));
  }
  std::ranges::sort(out, {}, &Stamp::path);
  return out;
}

std::vector<std::string> read_prose(const PackageFolder& packages) {
  std::vector<std::string> out;
  for (const char* name : {"tang300", "song100", "chinese"}) {
    std::ifstream file(packages.share(std::string("games/fortunes/") + name));
    for (std::string line; std::getline(file, line);) {
      std::string plain;
      for (std::size_t i = 0; i < line.size(); ++i) {
        if (line[i] == '\x1b') {
          while (i < line.size() && line[i] != 'm') ++i;
        } else {
          plain += line[i];
        }
      }
      if (plain.size() > 6) out.push_back(plain);
    }
  }
  return out;
}

}  // namespace skymm
