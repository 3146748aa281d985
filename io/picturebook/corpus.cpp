// What a tokenizer is trained on.
#include <algorithm>
#include <sstream>

#include "io/picturebook/builder.hpp"

namespace skymm {

namespace {

// What the tokenizer gets as one token each: names as they stand within a sentence, places, and the set phrases of
// questions. A concept in one token can be looked up by it; short questions train faster.
std::string tokenizer_symbols(const std::string& names) {
  std::string symbols;
  std::istringstream lines(names);
  for (std::string name; std::getline(lines, name);) {
    const bool english = static_cast<unsigned char>(name[0]) < 0x80;
    symbols += (english ? " " + name : name) + '\n';
  }
  for (int row = 0; row < 3; ++row) {
    for (int column = 0; column < 3; ++column) {
      Box box;
      box.x = (2 * column + 1) * canvas_size / 6;
      box.y = (2 * row + 1) * canvas_size / 6;
      symbols += fmt::format(" {}\n", position_name(box, Language::english));
      symbols += fmt::format("{}：\n", position_name(box, Language::chinese));
    }
  }
  for (const char* phrase : {" Please answer yes or no.",
                             "请回答是或否。",
                             " in the picture?",
                             " Is there",
                             " Are there",
                             " Is the",
                             " left of the",
                             " right of the",
                             " above the",
                             " below the",
                             " How many",
                             " are there?",
                             " Where is the",
                             " What is at the",
                             " What color is the",
                             " Describe the picture.",
                             "描述图片。",
                             "图里有",
                             "在哪里？",
                             "边是什么？",
                             "是什么颜色？",
                             "的左边吗？",
                             "的右边吗？",
                             "的上面吗？",
                             "的下面吗？",
                             " yes",
                             " no"}) {
    symbols += std::string(phrase) + '\n';
  }
  return symbols;
}

}  // namespace

// Text for the tokenizer: every name, captions, questions with answers, and Chinese prose; names.txt lists the names,
// symbols.txt what is to be one token.
void PicturebookBuilder::corpus() {
  std::string names;
  const auto add_name = [&](std::string_view en, std::string_view zh, bool counted) {
    names += std::string(en) + '\n';
    if (counted && plural(en) != en) names += plural(en) + '\n';
    names += std::string(zh) + '\n';
  };
  for (const Concept& concept_ : concepts()) add_name(concept_.name_en, concept_.name_zh, true);
  for (const Named& shape : shape_names) add_name(shape.en, shape.zh, true);
  for (const Colour& colour : colours) add_name(colour.en, colour.zh, false);
  write_whole(path("names.txt"), names);
  write_whole(path("symbols.txt"), tokenizer_symbols(names));

  std::string text;
  for (int i = 0; i < 20; ++i) text += names;  // often enough to be learnt whole
  for (const EmojiInfo& e : emoji_) {
    text += e.name_en + '\n' + e.name_zh + '\n';
    for (const auto* keywords : {&e.keywords_en, &e.keywords_zh}) {
      for (std::size_t i = 0; i < keywords->size(); ++i) text += (i ? ", " : "") + (*keywords)[i];
      text += '\n';
    }
  }
  for (const std::string& caption : captions_) text += caption + '\n';
  const Dataset scenes(path("scene_text.h5"));
  for (std::int64_t i = 0; i < std::min<std::int64_t>(scenes.size(), 6000); ++i) {
    for (const Part& part : scenes.read(i, false).parts) {
      text += part.text;
      text += part.kind == Part::Kind::answer || part.text.ends_with('\n') ? "\n" : " ";
    }
  }
  if (options_.prose && !options_.drawn)
    for (const std::string& line : read_prose(packages_)) text += line + '\n';
  std::string collapsed;  // captions bring their own line ends
  for (const char c : text)
    if (c != '\n' || (!collapsed.empty() && collapsed.back() != '\n')) collapsed += c;
  write_whole(path("corpus.txt"), collapsed);
  counts_["corpus.txt bytes"] = collapsed.size();
}

}  // namespace skymm
