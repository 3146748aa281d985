#include "io/import/prepare.hpp"

#include <algorithm>
#include <filesystem>

#include "core/error.hpp"
#include "io/file.hpp"
#include "io/image.hpp"
#include "io/utf8.hpp"

namespace skymm {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t longest_text = std::size_t{1} << 20;  // bytes of a sample; no model reads a hundredth of it
constexpr std::uintmax_t largest_picture = std::uintmax_t{256} << 20;
constexpr std::size_t most_pictures = 64;

// A picture's name is data from elsewhere: it must not lead out of the folder.
bool leads_out(const fs::path& name) {
  return name.is_absolute() || std::ranges::any_of(name, [](const fs::path& step) { return step == ".."; });
}

void read_pictures(Record& record, const PrepareOptions& options) {
  for (const std::string& name : record.image_paths) {
    if (options.confined && leads_out(name)) {
      return record.refuse(Reject::image_missing, fmt::format("{} leads out of the folder of pictures", name));
    }
    const fs::path path = fs::path(options.images) / name;
    std::error_code error;
    if (!fs::is_regular_file(path, error)) {
      return record.refuse(Reject::image_missing, fmt::format("{} is no file", path.string()));
    }
    if (fs::file_size(path, error) > largest_picture) {
      return record.refuse(Reject::too_large, fmt::format("{} is larger than 256 MiB", path.string()));
    }
    try {
      record.sample.images.push_back(read_file(path.string()));
    } catch (const Error& failure) {
      return record.refuse(Reject::image_missing, failure.message());
    }
  }
}

void check_pictures(Record& record, PictureCheck how) {
  for (const std::string& picture : record.sample.images) {
    try {
      scan_image(picture);
      if (how == PictureCheck::decode) decode_image_reduced(picture, 1);
    } catch (const Error& error) {
      return record.refuse(Reject::image_damaged, error.message());
    }
  }
}

void check_text(Record& record) {
  std::size_t bytes = record.sample.annotations.size(), answers = 0;
  if (!is_utf8(record.sample.id)) record.sample.id = valid_utf8(record.sample.id);
  for (const Part& part : record.sample.parts) {
    bytes += part.text.size();
    if (!is_utf8(part.text)) return record.refuse(Reject::not_utf8, "its text is not valid UTF-8");
    if (part.kind != Part::Kind::answer) continue;
    ++answers;
    if (is_blank(part.text)) return record.refuse(Reject::no_answer, "an answer is empty");
    if (!is_utf8(part.task)) return record.refuse(Reject::not_utf8, "its task is not valid UTF-8");
  }
  if (answers == 0) return record.refuse(Reject::no_answer, "it has no answer");
  if (bytes > longest_text) record.refuse(Reject::too_large, fmt::format("{} bytes of text and annotations", bytes));
}

}  // namespace

void prepare(Record& record, const PrepareOptions& options) {
  const auto good = [&] { return record.reject == Reject::none; };
  if (good() && record.image_paths.size() + record.sample.images.size() > most_pictures) {
    record.refuse(Reject::too_large, "more than 64 pictures");
  }
  if (good()) check_text(record);
  if (good()) read_pictures(record, options);
  if (good()) check_pictures(record, options.check);
  if (!good()) return;
  record.sample.language = options.language ? *options.language : language_of(record.sample);
  record.sample.source = options.source;
}

Language language_of(const Sample& sample) {
  std::int64_t hanzi = 0, letters = 0;
  for (const Part& part : sample.parts) {
    const std::string& text = part.text;
    for (std::size_t i = 0; i < text.size(); ++i) {
      const auto byte = static_cast<unsigned char>(text[i]);
      letters += (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z');
      if (byte < 0xE3 || byte > 0xE9 || i + 2 >= text.size()) continue;
      const unsigned code = (byte & 0x0FU) << 12 | (static_cast<unsigned char>(text[i + 1]) & 0x3FU) << 6 |
                            (static_cast<unsigned char>(text[i + 2]) & 0x3FU);
      hanzi += (code >= 0x3400 && code <= 0x4DBF) || (code >= 0x4E00 && code <= 0x9FFF);
    }
  }
  if (hanzi > 0 && 10 * hanzi >= 3 * (hanzi + letters)) return Language::chinese;
  return letters > 0 ? Language::english : Language::none;
}

}  // namespace skymm
