#include "launch/chat_command.hpp"

#include <unistd.h>

#include <algorithm>
#include <iostream>

#include "io/file.hpp"
#include "io/utf8.hpp"
#include "launch/config/options.hpp"
#include "launch/evaluation/generation.hpp"
#include "launch/evaluation/run.hpp"
#include "parallel/communicator.hpp"

namespace skymm {
namespace {

constexpr const char* conversation_help =
    "  /image PATH   talk about this picture (PNG, JPEG or WebP); starts a new conversation\n"
    "  /clear        start a new conversation about the same picture\n"
    "  /help         this text\n"
    "  /quit         leave (as the end of input does)\n"
    "Anything else is a question, in English or Chinese.\n";

const std::vector<Flag>& chat_flags() {
  static const std::vector<Flag> table = {
      {"run", "DIR", "run directory that skymm train made; while it trains, its newest checkpoint"},
      device_flag,
      {"image", "PATH", "picture to talk about: PNG, JPEG or WebP"},
      {"ask", "TEXT", "one question; its answer is printed and the command ends"},
      {"max-tokens", "N", "longest answer, default 64"},
      {"temperature", "T", "of the draw of each token; 0, the default: always the likeliest"},
      {"top-k", "N", "draw from the N likeliest alone; 0, the default: from all"},
      {"top-p", "P", "draw from the fewest likeliest whose probabilities sum to P; default 1"},
      {"repetition-penalty", "X", "above 1: tokens that were there before are less likely; default 1"},
      {"seed", "N", "of the draws, default 1"},
      {"stop", "TEXT", "ends an answer where it would say this; may be given several times"}};
  return table;
}

std::string chat_help() {
  return "skymm chat --run DIR [--image PATH] [--ask TEXT] [--max-tokens N]\n\n"
         "Answers questions about a picture, in English and Chinese, as the words come. Without --ask it is a\n"
         "conversation, in which earlier questions and answers are remembered.\n\n"
         "  skymm chat --run runs/stage2 --image cat.jpg --ask \"Is there a cat? Please answer yes or no.\"\n"
         "  skymm chat --run runs/stage2 --image 猫.png --ask 图里有什么？\n"
         "  skymm chat --run runs/stage2\n\n" +
         flags_help(chat_flags()) + "\nIn the conversation:\n" + conversation_help;
}

// Prints an answer as it comes, without the spaces around it, which the template puts there again.
class Speaker {
 public:
  explicit Speaker(std::ostream& out) : out_(out) {}

  void say(std::string_view piece) {
    text_ += piece;
    const std::string_view whole = trimmed(text_);
    out_ << whole.substr(said_) << std::flush;
    said_ = whole.size();
  }

 private:
  std::ostream& out_;
  std::string text_;
  std::size_t said_ = 0;
};

class Chat {
 public:
  Chat(const std::string& dir, const std::string& device, GenerationOptions options)
      : dir_(dir),
        run_(open_run(dir, device)),
        prompts_(run_.assembly.prompts(run_.config)),
        options_(std::move(options)) {
    apply_process_options(run_.config.run);
  }

  // Throws Error that names the file, and keeps the picture before.
  void show(const std::string& path) {
    check(run_.config.model.vision != "none",
          "the run in {} has no vision model (model.vision is none): it answers about text only", dir_);
    std::string bytes = read_file(path);
    try {
      load_pixels(bytes, run_.assembly.images);
    } catch (const Error& error) {
      fail("{} cannot be shown: {}", path, error.message());
    }
    picture_ = std::move(bytes);
    clear();
  }

  void clear() { turns_.clear(); }

  // Says the answer to `out`, and remembers both. The oldest turns are forgotten where the conversation outgrows the
  // model.
  std::string ask(const std::string& question, std::ostream& out) {
    check(is_utf8(question), "the question is not UTF-8; set the terminal to UTF-8");
    Sample sample = conversation(question);
    while (!fits(sample) && !turns_.empty()) {
      turns_.erase(turns_.begin());
      sample = conversation(question);
    }
    Speaker speaker(out);
    GenerationOptions options = options_;
    options.on_text = [&](std::size_t, std::string_view piece) { speaker.say(piece); };
    const std::string text = generate(*run_.assembly.model, prompts_, run_.assembly.images, {sample}, options).front();
    std::string answer(trimmed(text));
    if (!is_blank(answer)) turns_.push_back({question, answer});
    return answer;
  }

 private:
  struct Turn {
    std::string question, answer;
  };

  Sample conversation(const std::string& question) const {
    Sample sample;
    sample.id = "the conversation";
    if (!picture_.empty()) {
      sample.images = {picture_};
      sample.parts.push_back(image_part(0));
    }
    for (const Turn& turn : turns_) {
      sample.parts.push_back(text_part(turn.question));
      sample.parts.push_back(answer_part(turn.answer));
    }
    sample.parts.push_back(text_part(question));
    return sample;
  }

  bool fits(const Sample& sample) const {
    try {
      prompts_.prompt(sample);
      return true;
    } catch (const Error&) {
      return false;
    }
  }

  std::string dir_;
  Run run_;
  PromptBuilder prompts_;
  GenerationOptions options_;
  std::string picture_;  // encoded; empty: none
  std::vector<Turn> turns_;
};

GenerationOptions generation_options(const Arguments& given) {
  constexpr std::int64_t most_tokens = 1 << 20;
  GenerationOptions options;
  options.max_tokens =
      static_cast<int>(std::min(given.get("max-tokens", parse_positive, std::int64_t{64}), most_tokens));
  SamplingOptions& sampling = options.sampling;
  sampling.temperature = given.get("temperature", parse_number, sampling.temperature);
  sampling.top_k = given.get("top-k", parse_count, sampling.top_k);
  sampling.top_p = given.get("top-p", parse_number, sampling.top_p);
  sampling.repetition_penalty = given.get("repetition-penalty", parse_number, sampling.repetition_penalty);
  sampling.seed = given.get("seed", parse_unsigned, sampling.seed);
  for (const auto& [name, text] : given.named) {
    if (name != "stop") continue;
    if (text.empty()) fail_usage("--stop is empty; give a text");
    options.stops.push_back(text);
  }
  try {
    check_sampling(sampling);
  } catch (const Error& error) {
    fail_usage("{}", error.message());
  }
  return options;
}

// What a line asks for. False ends the conversation.
bool respond(Chat& chat, const std::string& line, std::ostream& out) {
  const std::size_t space = line.find(' ');
  const std::string word = line.substr(0, space);
  const std::string rest(space == std::string::npos ? "" : trimmed(line.substr(space)));
  if (word == "/quit" || word == "/exit") return false;
  if (word == "/help") {
    out << conversation_help;
  } else if (word == "/clear") {
    chat.clear();
    out << "a new conversation\n";
  } else if (word == "/image") {
    check(!rest.empty(), "which picture? /image PATH");
    chat.show(rest);
    out << "a new conversation about " << rest << "\n";
  } else if (word.starts_with('/')) {
    const std::string guess = nearest(word, {"/image", "/clear", "/help", "/quit"});
    fail("there is no command {}{}; /help lists them", word, guess.empty() ? "" : ", did you mean " + guess);
  } else {
    const std::string answer = chat.ask(line, out);
    out << (answer.empty() ? "(an empty answer)\n" : "\n");
  }
  return true;
}

}  // namespace

int chat_command(const std::vector<std::string>& arguments, std::istream& in, std::ostream& out,
                 const std::string& prompt) {
  const Arguments given = parse_arguments("skymm chat", chat_flags(), arguments, 0, {"stop"});
  if (given.help) {
    out << chat_help();
    return 0;
  }
  const std::string dir = given.required("run");
  const std::string* question = given.find("ask");
  if (question != nullptr && is_blank(*question)) fail_usage("--ask is empty; give a question");
  const GenerationOptions options = generation_options(given);
  check(world()->size() == 1, "skymm chat runs as one process; start it without mpirun");
  Chat chat(dir, given.text("device"), options);
  if (given.find("image") != nullptr) chat.show(given.required("image"));
  if (question != nullptr) {
    chat.ask(*question, out);
    out << "\n";
    return 0;
  }
  if (!prompt.empty()) out << "Ask, or /image PATH, /clear, /help, /quit.\n";
  for (std::string line; out << prompt << std::flush && std::getline(in, line);) {
    const std::string text(trimmed(line));
    if (text.empty()) continue;
    try {
      if (!respond(chat, text, out)) break;
    } catch (const Error& error) {
      out << error.message() << "\n";
    }
  }
  return 0;
}

int chat_command(const std::vector<std::string>& arguments) {
  return chat_command(arguments, std::cin, std::cout, isatty(STDIN_FILENO) ? "> " : "");
}

}  // namespace skymm
