// Tar shards in which a picture and its text are neighbours of one key: 000012.jpg, 000012.txt, 000012.json.
#include <archive.h>
#include <archive_entry.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/error.hpp"
#include "io/import/entries.hpp"
#include "io/import/record.hpp"

namespace skymm {
namespace {

using nlohmann::json;

constexpr std::size_t block_bytes = std::size_t{1} << 20;
constexpr std::int64_t longest_member = std::int64_t{256} << 20;
constexpr int most_members = 64;  // of a key

struct Member {
  std::string key, extension;
};

// "a/b.c.jpg": key "a/b", extension "c.jpg", as the format has it; ".JPG" is ".jpg".
Member split_name(std::string name) {
  if (name.starts_with("./")) name.erase(0, 2);
  const std::size_t slash = name.rfind('/') == std::string::npos ? 0 : name.rfind('/') + 1;
  const std::size_t dot = name.find('.', slash);
  if (dot == std::string::npos || dot == slash) return {name, ""};
  std::string extension = name.substr(dot + 1);
  for (char& c : extension) c = 'A' <= c && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
  return {name.substr(0, dot), extension};
}

bool is_picture(const std::string& extension) {
  return extension == "jpg" || extension == "jpeg" || extension == "png" || extension == "webp";
}

// The members of one key.
struct Group {
  std::string key;
  bool open = false, wanted = false;
  int members = 0;
  Record record;
  std::string text, metadata;
};

class TarReader {
 public:
  TarReader(const std::string& path, RecordSink& sink) : sink_(sink), archive_(archive_read_new(), archive_read_free) {
    archive_read_support_format_tar(archive_.get());
    archive_read_support_filter_gzip(archive_.get());
    archive_read_support_filter_zstd(archive_.get());
    open_ = archive_read_open_filename(archive_.get(), path.c_str(), block_bytes) == ARCHIVE_OK;
  }

  void read() {
    if (!open_) return end_damaged();
    int retries = 0;
    while (!stopped_) {
      archive_entry* entry = nullptr;
      const int status = archive_read_next_header(archive_.get(), &entry);
      sink_.at(archive_filter_bytes(archive_.get(), -1));
      if (status == ARCHIVE_EOF) return flush();
      if (status == ARCHIVE_RETRY && ++retries < 10) continue;
      if (status != ARCHIVE_OK && status != ARCHIVE_WARN) return end_damaged();
      if (archive_entry_filetype(entry) == AE_IFREG && !add(entry)) return end_damaged();
    }
  }

 private:
  std::string reason() const {
    const char* text = archive_error_string(archive_.get());
    return text ? text : "no reason given";
  }

  // False where the archive cannot be read on.
  bool add(archive_entry* entry) {
    const char* name = archive_entry_pathname(entry);
    const Member member = split_name(name ? name : "");
    if (!group_.open || member.key != group_.key) {
      flush();
      group_ = {.key = member.key, .open = true, .wanted = sink_.wants()};
      group_.record.where = "key " + member.key;
      group_.record.sample.id = member.key;
    }
    if (!group_.wanted || stopped_) return true;
    if (++group_.members > most_members || archive_entry_size(entry) > longest_member) {
      group_.record.refuse(Reject::too_large,
                           fmt::format("member {} is too large, or one of too many", member.extension));
      return true;
    }
    if (is_picture(member.extension)) return read_data(entry, group_.record.sample.images.emplace_back());
    if (member.extension == "txt" || member.extension == "caption") return read_data(entry, group_.text);
    if (member.extension == "json") return read_data(entry, group_.metadata);
    return true;  // scores, embeddings and the like
  }

  bool read_data(archive_entry* entry, std::string& bytes) {
    bytes.resize(static_cast<std::size_t>(std::max<std::int64_t>(archive_entry_size(entry), 0)));
    std::size_t have = 0;
    while (have < bytes.size()) {
      const la_ssize_t got = archive_read_data(archive_.get(), bytes.data() + have, bytes.size() - have);
      if (got <= 0) return false;
      have += static_cast<std::size_t>(got);
    }
    return true;
  }

  void end_damaged() {
    const std::string why = reason();
    if (group_.open && group_.wanted) {
      group_.record.refuse(Reject::input_damaged, why);
      group_.open = false;
      stopped_ = !sink_.put(std::move(group_.record));
    } else if (!group_.open) {  // else it is the record of who wants that group
      if (stopped_ || !sink_.wants()) return;
      Record record{.where = fmt::format("byte {}", archive_filter_bytes(archive_.get(), -1))};
      record.refuse(Reject::input_damaged, why);
      stopped_ = !sink_.put(std::move(record));
    }
  }

  void flush() {
    if (!group_.open || !std::exchange(group_.wanted, false)) return;
    group_.open = false;
    fill();
    stopped_ = stopped_ || !sink_.put(std::move(group_.record));
  }

  // The caption is the text; without one, the JSON's; or the JSON holds conversations.
  void fill() {
    Record& record = group_.record;
    if (record.reject != Reject::none) return;
    const int pictures = static_cast<int>(record.sample.images.size());
    if (pictures == 0) return record.refuse(Reject::image_missing, "no member of this key is a picture");
    if (!group_.metadata.empty()) {
      const json entry = json::parse(group_.metadata, nullptr, false);
      if (entry.is_discarded()) return record.refuse(Reject::malformed, "its json member is not JSON");
      if (member(entry, {"conversations", "messages"})) return fill_llava(entry, pictures, record);
      keep_annotations(entry, record);
      const json* caption = member(entry, {"caption", "text"});
      if (group_.text.empty() && caption) group_.text = text_of(*caption);
    }
    if (pictures != 1) {
      return record.refuse(Reject::image_count, fmt::format("{} pictures of one caption", pictures));
    }
    const std::size_t end = group_.text.find_last_not_of(" \t\r\n");
    if (end == std::string::npos) return record.refuse(Reject::no_answer, "it has no caption");
    group_.text.resize(end + 1);
    fill_pair("", std::move(group_.text), record);
  }

  RecordSink& sink_;
  std::unique_ptr<archive, decltype(&archive_read_free)> archive_;
  Group group_;
  bool open_ = false, stopped_ = false;
};

}  // namespace

void read_webdataset(const std::string& input, const ReaderOptions&, RecordSink& sink) {
  TarReader(input, sink).read();
}

}  // namespace skymm
