#include "io/import/record.hpp"

namespace skymm {

std::string_view name_of(Reject reason) {
  constexpr std::string_view names[] = {"none",      "malformed", "image missing", "image damaged", "image count",
                                        "no answer", "not UTF-8", "too large",     "input damaged"};
  return names[static_cast<std::size_t>(reason)];
}

const std::vector<ImportFormat>& import_formats() {
  static const std::vector<ImportFormat> formats = {
      {"llava", "JSON array of {id, image, conversations}; pictures in a folder", read_llava, true, false},
      {"lrv", "JSON array of {image_id, question, answer, task}; task \"negative\" marks negatives", read_lrv, true,
       false},
      {"webdataset", "tar shards; <key>.jpg, .txt and .json of one key lie together", read_webdataset, false, false},
      {"jsonl", "a JSON object a line: captions, questions and answers, or LLaVA's conversations", read_jsonl, true,
       true},
      {"csv", "a table with a header, commas or (in .tsv) tabs: captions, or questions and answers", read_csv, true,
       true},
      {"mme", "MME's folder: a folder a task, pictures and two yes/no questions each", read_mme_folder, false, false},
      {"mmbench", "MMBench's TSV, pictures in base64", read_mmbench, false, false},
      {"pope", "POPE's JSON lines; pictures in a folder", read_pope, true, false},
  };
  return formats;
}

}  // namespace skymm
