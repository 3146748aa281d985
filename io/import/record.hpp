// One entry of an input, as its format's reader hands it over; and the reader's interface.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "io/sample.hpp"

namespace skymm {

// Why an entry became no sample; the word that rejects are counted by.
enum class Reject : std::uint8_t {
  none,
  malformed,      // not what the format says: a field is missing or of another type
  image_missing,  // it names a picture that cannot be read
  image_damaged,  // the picture's bytes are no picture, or not all of one
  image_count,    // as many <image> as pictures there must be
  no_answer,      // nothing to be trained on
  not_utf8,
  too_large,      // longer than any sample may be
  input_damaged,  // the input cannot be read from here on
};
std::string_view name_of(Reject reason);

struct Record {
  std::string where;                     // within the input: "entry 12", "line 7", "key 000012"
  Sample sample;                         // images: filled where the input brought their bytes
  std::vector<std::string> image_paths;  // otherwise the files to read
  Reject reject = Reject::none;          // anything else: the sample does not count
  std::string detail = {};               // of the reject, for a person

  void refuse(Reject reason, std::string why) {
    reject = reason;
    detail = std::move(why);
  }
};

// What a reader writes to. Each record is asked about before it is made, so that those of a run that was interrupted
// are passed over cheaply.
class RecordSink {
 public:
  virtual ~RecordSink() = default;
  virtual bool wants() = 0;                // counts a record; false: it is in the set already
  virtual bool put(Record&& record) = 0;   // the record that was asked about; false: stop reading
  virtual void at(std::int64_t byte) = 0;  // how far the reader is in its input, for the progress shown
};

// How the fields of tables and lines are called; "" where the usual names are tried.
struct ColumnNames {
  std::string image, caption, question, answer, id;
};

struct ReaderOptions {
  std::string images;  // folder that pictures' names are relative to; "": the input's own
  ColumnNames columns;
};

// Reads an input from its start to its end. Throws Error where the input cannot be opened; damage further on is a
// record with Reject::input_damaged, after which nothing follows.
using InputReader = void (*)(const std::string& input, const ReaderOptions& options, RecordSink& sink);

struct ImportFormat {
  const char* name;
  const char* help;
  InputReader read;
  bool pictures_apart;  // its pictures are files that entries name: a folder of them may be given
  bool columns;         // its fields' names may be given
};
const std::vector<ImportFormat>& import_formats();

// The readers, a file a kind of input.
void read_llava(const std::string& input, const ReaderOptions& options, RecordSink& sink);
void read_lrv(const std::string& input, const ReaderOptions& options, RecordSink& sink);
void read_webdataset(const std::string& input, const ReaderOptions& options, RecordSink& sink);
void read_jsonl(const std::string& input, const ReaderOptions& options, RecordSink& sink);
void read_csv(const std::string& input, const ReaderOptions& options, RecordSink& sink);
void read_mme_folder(const std::string& input, const ReaderOptions& options, RecordSink& sink);
void read_mmbench(const std::string& input, const ReaderOptions& options, RecordSink& sink);
void read_pope(const std::string& input, const ReaderOptions& options, RecordSink& sink);

}  // namespace skymm
