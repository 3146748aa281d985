// The Debian packages that the picture book is made of: fetched and unpacked into a folder, never installed.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace skymm {

struct PackageFolder {
  std::string root;                             // holds usr/share/...
  std::map<std::string, std::string> versions;  // of each package, where known

  std::string share(const std::string& path) const { return root + "/usr/share/" + path; }
};

// Fetches (apt-get download) and unpacks (dpkg-deb -x) what `cache` lacks. Works offline once all is there.
// Throws Error naming the package that cannot be had and what to do.
PackageFolder fetch_packages(const std::string& cache, bool with_prose);
// Takes an already unpacked folder as it is. Throws Error naming the package whose files are absent.
PackageFolder use_unpacked(const std::string& root, bool with_prose);

// What Unicode says of one emoji of a single code point.
struct EmojiInfo {
  char32_t code = 0;
  std::string name_en, name_zh;  // CLDR's short names (tts)
  std::vector<std::string> keywords_en, keywords_zh;
  std::string group;  // of emoji-test.txt: "Animals & Nature"
};
// Emoji without flags and skin tones that have a name in both languages, in emoji-test's order.
std::vector<EmojiInfo> read_emoji(const PackageFolder& packages);

struct Stamp {
  std::string path;                    // of the PNG
  std::string caption_en, caption_zh;  // either may be empty
};
// Tuxpaint's stamps in the order of their paths, without mirrored variants.
std::vector<Stamp> read_stamps(const PackageFolder& packages);

// Chinese verse and sayings of fortunes-zh, a line each, without colour codes.
std::vector<std::string> read_prose(const PackageFolder& packages);

}  // namespace skymm
