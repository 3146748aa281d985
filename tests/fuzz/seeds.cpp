// Writes a few small whole files of each kind, from which the harnesses' mutations begin: fuzz_seeds FOLDER
#include <webp/encode.h>

#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "io/dataset.hpp"
#include "io/file.hpp"
#include "io/image.hpp"
#include "io/tokenizer.hpp"
#include "io/weights/safetensors.hpp"
#include "tests/support/gguf_writer.hpp"
#include "tests/support/tar.hpp"

namespace skymm {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

class Corpora {
 public:
  explicit Corpora(fs::path root) : root_(std::move(root)) {}

  std::string place(const std::string& harness, const std::string& name) const {
    fs::create_directories(root_ / harness);
    return (root_ / harness / name).string();
  }
  void add(const std::string& harness, const std::string& name, std::string_view bytes) const {
    write_file(place(harness, name), bytes);
  }

 private:
  fs::path root_;
};

Image ramp(int width, int height) {
  Image image(width, height);
  for (std::size_t i = 0; i < image.rgb.size(); ++i) image.rgb[i] = static_cast<std::uint8_t>(i * 7 + i / 30 * 31);
  return image;
}

void add_weights(const Corpora& corpora) {
  const Tensor x = Tensor::from(std::vector<float>{1, 2, 3, 4, 5, 6}, {2, 3});
  write_safetensors(corpora.place("safetensors", "two"), {{"a.weight", x}, {"b", x.to(DType::bf16)}},
                    {{"format", "pt"}});
  testing::GgufWriter gguf;
  gguf.add("general.architecture", "llama");
  gguf.add("llama.attention.head_count", std::uint32_t{2});
  gguf.tensor("blk.0.attn_q.weight", {4, 4}, std::vector<float>(16, 0.5F));
  gguf.tensor("blk.0.ffn_up.weight", {32, 1}, 2, std::string(18, '\x31'));       // Q4_0
  gguf.tensor("blk.0.ffn_down.weight", {256, 1}, 14, std::string(210, '\x17'));  // Q6_K
  corpora.add("gguf", "weights", gguf.file());
}

void add_tokenizers(const Corpora& corpora) {
  testing::GgufWriter pieces, merges;
  pieces.add("tokenizer.ggml.model", "llama");
  pieces.add("tokenizer.ggml.tokens", {"<unk>", "<s>", "</s>", "<0x0A>", "a", "b", "ab"});
  pieces.add_numbers("tokenizer.ggml.scores", 6, std::vector<float>{0, 0, 0, 0, -1, -2, -3});
  pieces.add_numbers("tokenizer.ggml.token_type", 5, std::vector<std::int32_t>{2, 3, 3, 6, 1, 1, 1});
  pieces.add("tokenizer.ggml.bos_token_id", std::uint32_t{1});
  pieces.add("tokenizer.ggml.eos_token_id", std::uint32_t{2});
  corpora.add("gguf", "pieces", pieces.file());
  merges.add("tokenizer.ggml.model", "gpt2");
  merges.add("tokenizer.ggml.pre", "smollm");
  merges.add("tokenizer.ggml.tokens", {"<|endoftext|>", "a", "b", "ab"});
  merges.add("tokenizer.ggml.merges", std::vector<std::string>{"a b"});
  merges.add("tokenizer.ggml.eos_token_id", std::uint32_t{0});
  corpora.add("gguf", "merges", merges.file());

  const json split = {{"type", "Split"}, {"pattern", {{"Regex", "\\p{L}+|\\s+"}}}, {"behavior", "Isolated"}};
  const json bytes = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}};
  const json digits = {{"type", "Digits"}, {"individual_digits", true}};
  const json added = {{"id", 6}, {"content", "<|im_end|>"}, {"special", true}};
  const json vocabulary = {{"a", 0}, {"b", 1}, {"Ġ", 2}, {"ab", 3}, {"Ċ", 4}, {"T", 5}};
  for (const json& step : {split, digits, json({{"type", "Sequence"}, {"pretokenizers", {split, digits, bytes}}})}) {
    const json model = {{"type", "BPE"}, {"vocab", vocabulary}, {"merges", {"a b"}}};
    const json file = {{"added_tokens", {added}},
                       {"normalizer", {{"type", "NFC"}}},
                       {"pre_tokenizer", step},
                       {"decoder", {{"type", "ByteLevel"}}},
                       {"model", model}};
    corpora.add("tokenizer_json", step.at("type"), file.dump());
  }

  const std::string corpus = corpora.place("sentencepiece", "corpus.txt");
  write_file(corpus, "two pandas and one red panda\n两只熊猫和一只小熊猫\n");
  train_tokenizer(corpus, corpora.place("sentencepiece", "bytes"), {.vocab_size = 290, .symbols = {" panda"}});
  train_tokenizer(corpus, corpora.place("sentencepiece", "characters"), {.vocab_size = 40, .byte_fallback = false});
  fs::remove(corpus);
}

void add_pictures(const Corpora& corpora) {
  corpora.add("image", "ramp.png", encode_png(ramp(9, 7)));
  corpora.add("image", "ramp.jpg", encode_jpeg(ramp(17, 19)));
  const Image image = ramp(6, 5);
  std::uint8_t* lossless = nullptr;
  std::uint8_t* lossy = nullptr;
  const std::size_t lossless_bytes = WebPEncodeLosslessRGB(image.rgb.data(), 6, 5, 18, &lossless),
                    lossy_bytes = WebPEncodeRGB(image.rgb.data(), 6, 5, 18, 50, &lossy);
  corpora.add("image", "lossless.webp", {reinterpret_cast<const char*>(lossless), lossless_bytes});
  corpora.add("image", "lossy.webp", {reinterpret_cast<const char*>(lossy), lossy_bytes});
  WebPFree(lossless);
  WebPFree(lossy);
}

void add_data_sets(const Corpora& corpora) {
  const std::string picture = encode_png(ramp(3, 2));
  DatasetWriter writer(corpora.place("dataset", "two"), R"({"seed": 1})");
  Sample sample{.id = "1", .images = {picture}, .language = Language::english, .source = "fuzz"};
  sample.parts = {image_part(0), text_part("How many?"), answer_part("Two.")};
  writer.add(sample);
  sample.id = "2", sample.language = Language::chinese;
  writer.add(sample);
  writer.close();

  const json turns = {{{"from", "human"}, {"value", "<image>\nWhat?"}}, {{"from", "gpt"}, {"value", "图"}}};
  const json llava = {{{"id", 1}, {"image", "a.png"}, {"conversations", turns}}, {{"id", "b"}, {"image", "b.png"}}};
  const json lrv = {{{"image_id", "1"}, {"question", "What?"}, {"answer", "A ramp."}, {"task", "negative"}}};
  const json manifest = {{"format", "skymm sharded samples"},
                         {"version", 1},
                         {"samples", 2},
                         {"images", 1},
                         {"provenance", json::object()},
                         {"shards",
                          {{{"file", "a.h5"},
                            {"bytes", 100},
                            {"samples", 2},
                            {"images", 1},
                            {"languages", {0, 1, 1}},
                            {"header_crc32c", 7}}}}};
  const std::vector<std::pair<std::string, std::string>> texts = {
      {"llava", llava.dump()},
      {"lrv", lrv.dump()},
      {"jsonl", R"({"image": "a.png", "caption": "A ramp."})"
                "\n"
                R"({"image": "a.png", "question": "What?", "answer": "图"})"
                "\n"},
      {"csv", "id,image,caption\n1,a.png,\"A \"\"ramp\"\"\"\n"},
      {"mmbench", "index\tquestion\tA\tB\tanswer\tcategory\tl2-category\timage\n1\tWhat?\tx\ty\tA\tc\tl\tiVBORw0K\n"},
      {"pope", R"({"question_id": 1, "image": "a.jpg", "text": "Is there a car?", "label": "no"})"
               "\n"},
      {"manifest", manifest.dump()},
  };
  for (std::size_t i = 0; i < texts.size(); ++i) {
    corpora.add("json", texts[i].first, static_cast<char>(i) + texts[i].second);
  }
  testing::write_tar(corpora.place("tar", "pair"),
                     {{"1.png", picture}, {"1.txt", "A ramp."}, {"1.json", "{\"w\": 3}"}});
  testing::write_tar(corpora.place("tar", "turns"),
                     {{"a/2.png", picture}, {"a/2.json", json({{"conversations", turns}}).dump()}});
}

}  // namespace
}  // namespace skymm

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fputs("fuzz_seeds FOLDER\n", stderr);
    return 2;
  }
  const skymm::Corpora corpora(argv[1]);
  skymm::add_weights(corpora);
  skymm::add_tokenizers(corpora);
  skymm::add_pictures(corpora);
  skymm::add_data_sets(corpora);
}
