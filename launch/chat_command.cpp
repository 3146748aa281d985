#include "launch/chat_command.hpp"

#include <unistd.h>

#include <algorithm>
#include <iostream>

#include "io/file.hpp"
#include "io/utf8.hpp"
#include "launch/command_options.hpp"
#include "launch/generation.hpp"
#include "launch/run.hpp"
#include "parallel/communicator.hpp"

namespace skymm {
namespace {

constexpr const char* conversation_help =
    "  /image PATH   talk about this picture (PNG, JPEG or WebP); starts a new conversation\n"
    "  /clear        start a new conversation about the same picture\n"
    "  /help         this text\n"
    "  /quit         leave (as the end of input does)\n"
    "Anything else is a question, in English or Chinese.\n";

const std::vector<CommandOption>& chat_options() {
  static const std::vector<CommandOption> table = {
      {"run", "DIR", "run directory that skymm train made; while it trains, its newest checkpoint"},
      {"image", "PATH", "picture to talk about: PNG, JPEG or WebP"},
      {"ask", "TEXT", "one question; its answer is printed and the command ends"},
      {"max-tokens", "N", "longest answer, default 64"}};
  return table;
}

std::string chat_help() {
  return "skymm chat --run DIR [--image PATH] [--ask TEXT] [--max-tokens N]\n\n"
         "Answers questions about a picture, in English and Chinese. Without --ask it is a conversation, in which\n"
         "earlier questions and answers are remembered.\n\n"
         "  skymm chat --run runs/stage2 --image cat.jpg --ask \"Is there a cat? Please answer yes or no.\"\n"
         "  skymm chat --run runs/stage2 --image 猫.png --ask 图里有什么？\n"
         "  skymm chat --run runs/stage2\n\n" +
         options_help(chat_options()) + "\nIn the conversation:\n" + conversation_help;
}

class Chat {
 public:
  Chat(const std::string& dir, int max_tokens)
      : dir_(dir), run_(open_run(dir)), prompts_(run_.assembly.prompts(run_.config)), max_tokens_(max_tokens) {
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

  // Remembers question and answer. The oldest turns are forgotten where the conversation outgrows the model.
  std::string ask(const std::string& question) {
    check(is_utf8(question), "the question is not UTF-8; set the terminal to UTF-8");
    Sample sample = conversation(question);
    while (!fits(sample) && !turns_.empty()) {
      turns_.erase(turns_.begin());
      sample = conversation(question);
    }
    const std::string text =
        generate(*run_.assembly.model, prompts_, run_.assembly.images, {sample}, {.max_tokens = max_tokens_}).front();
    std::string answer(trimmed(text));  // the spaces of the template, which it puts there again
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
  int max_tokens_;
  std::string picture_;  // encoded; empty: none
  std::vector<Turn> turns_;
};

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
    const std::string answer = chat.ask(line);
    out << (answer.empty() ? "(an empty answer)" : answer) << "\n";
  }
  return true;
}

}  // namespace

int chat_command(const std::vector<std::string>& arguments, std::istream& in, std::ostream& out,
                 const std::string& prompt) {
  const CommandArguments given("skymm chat", chat_options(), arguments);
  if (given.help()) {
    out << chat_help();
    return 0;
  }
  const std::string dir = given.required("run");
  const auto max_tokens = static_cast<int>(std::min<std::int64_t>(given.integer("max-tokens", 64, 1), 1 << 20));
  if (given.has("ask") && is_blank(given.get("ask"))) fail_usage("--ask is empty; give a question");
  check(world()->size() == 1, "skymm chat runs as one process; start it without mpirun");
  Chat chat(dir, max_tokens);
  if (given.has("image")) chat.show(given.required("image"));
  if (given.has("ask")) {
    out << chat.ask(given.get("ask")) << "\n";
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
