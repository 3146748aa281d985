#include "io/picturebook/picturebook.hpp"

#include <algorithm>
#include <chrono>
#include <fstream>
#include <functional>

#include "core/error.hpp"
#include "core/log.hpp"
#include "io/picturebook/builder.hpp"

namespace skymm {

namespace fs = std::filesystem;
using nlohmann::json;

void write_whole(const fs::path& path, const std::string& text) {
  const fs::path temporary = path.string() + ".tmp";
  std::ofstream file(temporary, std::ios::binary);
  file << text;
  file.close();
  if (!file) {
    std::error_code ignored;
    fs::remove(temporary, ignored);
    fail("writing {} failed; free some space or choose another folder", path.string());
  }
  fs::rename(temporary, path);
}

PicturebookBuilder::PicturebookBuilder(const PicturebookOptions& options) : options_(options) {
  check(options.scale > 0 && options.canvases >= 0 && options.instructions >= 0 && options.scene_texts >= 0 &&
            options.look_ups >= 0 && options.validation >= 0 && options.turns > 0 && options.text_turns > 0 &&
            options.open_percent >= 0 && options.open_percent <= 100,
        "picture book: counts must not be negative, scale and turns must be positive");
  std::error_code error;
  fs::create_directories(options.output, error);
  check(!error, "cannot make folder {}: {}", options.output, error.message());
  load();
}

void PicturebookBuilder::build() {
  canvases();
  instructions();
  scene_texts();
  held_out_sets();
  evaluation();
  corpus();
  manifest();
}

std::string PicturebookBuilder::provenance() const {
  return json{{"made_by", "skymm data build picturebook"}, {"seed", options_.seed}, {"packages", packages_.versions}}
      .dump();
}

namespace {

std::vector<int> all_concepts() {
  std::vector<int> all(concepts().size());
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<int>(i);
  return all;
}

fs::path gemojione_folder(const PackageFolder& packages) {
  for (const auto& entry : fs::directory_iterator(packages.share("rubygems-integration/all/gems")))
    if (entry.path().filename().string().starts_with("gemojione-")) return entry.path() / "assets/png";
  fail("package ruby-gemojione: no gemojione folder in {}", packages.share("rubygems-integration/all/gems"));
}

}  // namespace

void PicturebookBuilder::load() {
  Glyphs glyphs = drawn_glyphs();
  if (options_.drawn) {
    pictures_ = glyphs.pictures;
    renderer_.emplace(glyphs, all_concepts());
    style_.emplace(glyphs, all_concepts());
    styled_ = all_concepts();
    return;
  }
  packages_ = options_.unpacked.empty() ? fetch_packages(options_.cache, options_.prose)
                                        : use_unpacked(options_.unpacked, options_.prose);
  emoji_ = read_emoji(packages_);
  std::vector<char32_t> wanted;
  for (const Concept& concept_ : concepts()) {
    wanted.push_back(concept_.code);
    check(std::ranges::any_of(emoji_, [&](const EmojiInfo& e) { return e.code == concept_.code; }),
          "picture book: CLDR has no name for {} (U+{:04X}); packages unicode-cldr-core and unicode-data are too old",
          concept_.name_en, static_cast<unsigned>(concept_.code));
  }
  for (const EmojiInfo& e : emoji_) wanted.push_back(e.code);
  glyphs.pictures = load_emoji_font(packages_.share("fonts/truetype/noto/NotoColorEmoji.ttf"), wanted);
  glyphs.characters = load_characters(packages_.share("fonts/truetype/dejavu/DejaVuSans-Bold.ttf"),
                                      packages_.share("fonts/truetype/wqy/wqy-zenhei.ttc"));
  renderer_.emplace(glyphs, all_concepts());
  pictures_ = glyphs.pictures;
  glyphs.pictures = load_emoji_folder(gemojione_folder(packages_).string(), wanted);
  for (int i = 0; i < training_concepts(); ++i)
    if (glyphs.pictures.contains(concepts()[static_cast<std::size_t>(i)].code)) styled_.push_back(i);
  style_.emplace(glyphs, styled_);
}

void PicturebookBuilder::canvases() {
  const int count = scaled(options_.canvases);
  DatasetWriter canvases(path("canvases.h5"), provenance()), stage1(path("stage1.h5"), provenance());
  ordered(
      count,
      [&](int i) {
        Random r = random(canvas_stream, i);
        DrawnScene drawn{training_scene(r), {}};
        drawn.png = encode_png(renderer_->render(drawn.scene));
        return drawn;
      },
      [&](int i, const DrawnScene& drawn) {
        trained_scenes_.insert(scene_fingerprint(drawn.scene));
        for (const Language language : {Language::english, Language::chinese}) {
          const char* tail = language == Language::english ? "-en" : "-zh";
          const Sample sample = caption_sample(drawn.scene, drawn.png, language, "canvas-" + padded(i) + tail);
          canvases.add(sample);
          stage1.add(sample);
          if (i % 2 == 0) captions_.push_back(sample.parts[1].text);
        }
      });
  canvases.close();
  extra_pictures(stage1);
  counts_["canvases.h5"] = canvases.size();
  counts_["stage1.h5"] = stage1.size();
  stage1.close();
  log::info("picture book: {} canvases", count);
}

namespace {

// A held-out concept must not come in by another door: under its own code, or in another drawing of the same name.
bool names_held_out(const std::string& text) {
  std::string lower = " ";
  for (const char c : text)
    lower += static_cast<char>(std::isalpha(static_cast<unsigned char>(c)) ? std::tolower(static_cast<unsigned char>(c))
                                                                           : ' ');
  lower += ' ';
  return std::ranges::any_of(concepts(), [&](const Concept& c) {
    return c.held_out && (lower.find(fmt::format(" {} ", c.name_en)) != std::string::npos ||
                          lower.find(fmt::format(" {} ", plural(c.name_en))) != std::string::npos);
  });
}

}  // namespace

void PicturebookBuilder::extra_pictures(DatasetWriter& writer) {
  struct Picture {
    std::string id, source, en, zh, file;
    const ImageRgba* glyph = nullptr;
  };
  std::vector<Picture> wanted;
  const std::vector<Concept>& known = concepts();
  for (const EmojiInfo& e : emoji_) {
    const auto glyph = pictures_.find(e.code);
    const auto concept_ = std::ranges::find(known, e.code, &Concept::code);
    if (glyph == pictures_.end() || (concept_ != known.end() && concept_->held_out) || names_held_out(e.name_en))
      continue;
    const bool ours = concept_ != known.end();
    wanted.push_back({fmt::format("emoji-{:04X}", static_cast<unsigned>(e.code)),
                      "emoji",
                      ours ? std::string(concept_->name_en) : e.name_en,
                      ours ? std::string(concept_->name_zh) : e.name_zh,
                      {},
                      &glyph->second});
  }
  if (!options_.drawn)
    for (const Stamp& stamp : read_stamps(packages_))
      if (!names_held_out(stamp.caption_en))
        wanted.push_back({"stamp-" + fs::path(stamp.path).stem().string(), "stamps", stamp.caption_en, stamp.caption_zh,
                          stamp.path});
  int unreadable = 0;
  ordered(
      static_cast<int>(wanted.size()),
      [&](int i) -> std::string {
        const Picture& picture = wanted[static_cast<std::size_t>(i)];
        Random r = random(picture_stream, i);
        if (picture.glyph) return encode_png(centred(*picture.glyph, r.between(56, 96)));
        std::ifstream file(picture.file, std::ios::binary);
        const std::string bytes(std::istreambuf_iterator<char>(file), {});
        try {
          return encode_png(centred(decode_image_rgba(bytes), 104));
        } catch (const Error& error) {
          log::warn("{}: {}; left out", picture.file, error.message());
          return {};
        }
      },
      [&](int i, const std::string& png) {
        const Picture& picture = wanted[static_cast<std::size_t>(i)];
        unreadable += png.empty();
        for (const Language language : {Language::english, Language::chinese}) {
          const bool english = language == Language::english;
          const std::string& caption = english ? picture.en : picture.zh;
          if (png.empty() || caption.empty()) continue;
          Sample sample{picture.id + (english ? "-en" : "-zh"), {png}, {}, language, picture.source, {}};
          sample.parts = {image_part(0), answer_part(caption, "caption", Polarity::positive)};
          writer.add(sample);
          captions_.push_back(caption);
        }
      });
  counts_["pictures of emoji and stamps"] = static_cast<int>(wanted.size()) - unreadable;
  counts_["unreadable pictures"] = unreadable;
}

void PicturebookBuilder::instructions() {
  const TurnOptions turns{options_.turns, options_.open_percent, options_.negatives};
  DatasetWriter writer(path("stage2.h5"), provenance());
  ordered(
      scaled(options_.instructions),
      [&](int i) {
        Random r = random(instruction_stream, i);
        const Scene scene = training_scene(r);
        const Language language = i % 2 ? Language::chinese : Language::english;
        return std::pair{scene_fingerprint(scene), instruction_sample(scene, encode_png(renderer_->render(scene)),
                                                                      language, r, "instruction-" + padded(i), turns)};
      },
      [&](int, const std::pair<std::uint64_t, Sample>& made) {
        trained_scenes_.insert(made.first);
        writer.add(made.second);
      });
  counts_["stage2.h5"] = writer.size();
  writer.close();
  log::info("picture book: {} instruction samples", counts_["stage2.h5"].get<int>());
}

// A decoder that is asked "What is at the top left?" from the start, which reads on from the place, never learns "Where
// is the panda?", which reads back from the name; taught the look-up first, it learns both (docs/nano.md).
void PicturebookBuilder::scene_texts() {
  scene_text_set("scene_lookup.h5", scaled(options_.look_ups), lookup_stream,
                 {.turns = 4, .open_percent = 60, .look_ups = true});
  scene_text_set("scene_text.h5", scaled(options_.scene_texts), text_stream,
                 {.turns = options_.text_turns,
                  .open_percent = options_.text_open_percent,
                  .describe_percent = 30,
                  .other_language_percent = 10});
}

void PicturebookBuilder::scene_text_set(const std::string& file, int samples, std::uint64_t stream,
                                        const TurnOptions& turns) {
  DatasetWriter writer(path(file), provenance());
  const std::string stem = fs::path(file).stem();
  ordered(
      samples,
      [&](int i) {
        Random r = random(stream, i);
        for (;;) {  // a scene may offer no look-up
          Sample sample = scene_text_sample(training_scene(r), i % 2 ? Language::chinese : Language::english, r,
                                            stem + "-" + padded(i), turns);
          if (sample.parts.back().kind == Part::Kind::answer) return sample;
        }
      },
      [&](int, const Sample& sample) { writer.add(sample); });
  counts_[file] = writer.size();
  writer.close();
  log::info("picture book: {} text-only samples in {}", counts_[file].get<int>(), file);
}

// Scenes of held-out layouts, of held-out concepts, and in the held-out style: a caption and questions in each
// language.
void PicturebookBuilder::held_out_sets() {
  struct Set {
    const char* name;
    PicturebookStream stream;
    const Renderer* renderer;
  };
  for (const Set& set : {Set{"validation", validation_stream, &*renderer_},
                         Set{"heldout", held_out_stream, &*renderer_}, Set{"style", style_stream, &*style_}}) {
    const TurnOptions turns{options_.turns, 0, true};
    DatasetWriter writer(path(std::string(set.name) + ".h5"), provenance());
    const auto fits = [&](const Scene& scene) {
      if (trained_scenes_.contains(scene_fingerprint(scene))) return false;
      if (set.stream == held_out_stream)
        return std::ranges::any_of(scene.objects, [](const SceneObject& o) { return !o.is_shape(); });
      const bool drawn = std::ranges::all_of(scene.objects, [&](const SceneObject& o) {
        return o.is_shape() || set.stream != style_stream || std::ranges::binary_search(styled_, o.concept_index);
      });
      return drawn && is_held_out_layout(scene);
    };
    ordered(
        scaled(options_.validation),
        [&](int i) {
          Random r = random(set.stream, i);
          SceneOptions options;
          options.held_out = set.stream == held_out_stream;
          Scene scene = random_scene(r, options);
          while (!fits(scene)) scene = random_scene(r, options);
          const std::string png = encode_png(set.renderer->render(scene));
          std::vector<Sample> samples;
          for (const Language language : {Language::english, Language::chinese}) {
            const std::string id =
                fmt::format("{}-{}-{}", set.name, padded(i), language == Language::english ? "en" : "zh");
            samples.push_back(caption_sample(scene, png, language, id));
            samples.push_back(instruction_sample(scene, png, language, r, id + "-qa", turns));
          }
          return samples;
        },
        [&](int, const std::vector<Sample>& samples) {
          for (const Sample& sample : samples) writer.add(sample);
        });
    counts_[std::string(set.name) + ".h5"] = writer.size();
    writer.close();
  }
  log::info("picture book: validation, held-out concepts and held-out style");
}

void PicturebookBuilder::manifest() {
  int held_out = static_cast<int>(concepts().size()) - training_concepts();
  const json out = {
      {"format", "skymm picturebook"},
      {"version", 1},
      {"seed", options_.seed},
      {"scale", options_.scale},
      {"canvas", canvas_size},
      {"turns", options_.turns},
      {"text_turns", options_.text_turns},
      {"open_percent", options_.open_percent},
      {"negatives", options_.negatives},
      {"glyphs", options_.drawn ? "drawn" : "packages"},
      {"concepts", {{"training", training_concepts()}, {"held_out", held_out}, {"in_style", styled_.size()}}},
      {"counts", counts_},
      {"packages", packages_.versions}};
  write_whole(path("manifest.json"), out.dump(2) + '\n');
}

void build_picturebook(const PicturebookOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  PicturebookBuilder(options).build();
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  log::info("picture book: {} made in {:.1f} s", options.output, seconds.count());
}

}  // namespace skymm
