// JSON objects as records: what LLaVA, LRV-Instruction, POPE and lines of captions have in common.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "io/import/record.hpp"

namespace skymm {

constexpr std::size_t longest_line = std::size_t{64} << 20;  // bytes

// Each of these fills sample.parts and image_paths of the record, or refuses it. Never throws for what an entry holds.

// {"id", "image": name or list of names, "conversations": [{"from": "human" | "gpt", "value"}]}. As many "<image>" in
// the human's values as there are pictures: `brought` where the input itself brings them (then "image" is not looked
// at).
void fill_llava(const nlohmann::json& entry, int brought, Record& record);
// {"image_id", "question", "answer", "task"}
void fill_lrv(const nlohmann::json& entry, Record& record);
// {"question_id", "image", "text", "label"}
void fill_pope(const nlohmann::json& entry, Record& record);
// A caption, or a question and its answer, by the names of its fields; conversations as fill_llava.
void fill_line(const nlohmann::json& entry, const ColumnNames& columns, Record& record);

// What an entry says of its picture besides: {"objects": [...], "tags": [...]}, of its own members or those of its
// "annotations", an object or its text, of which all is kept. For `skymm data build negatives`.
void keep_annotations(const nlohmann::json& entry, Record& record);

// One picture, and a question and its answer about it; no question: a caption.
void fill_pair(std::string question, std::string answer, Record& record);

// The text of a string or number, "" of anything else.
std::string text_of(const nlohmann::json& value);
// The first of these members that is there, else null.
const nlohmann::json* member(const nlohmann::json& entry, const std::vector<std::string>& names);

// `given`, or the names to try where none is given.
std::vector<std::string> names_or(const std::string& given, std::vector<std::string> usual);

}  // namespace skymm
