#include "findings.h"

#include <array>
#include <string_view>

#include "postern/base/assert.h"

namespace postern::journal {
namespace {

using Verdict = Segment::Verdict;

struct Row {
    Situation situation;
    Gravity gravity;
    Verdict verdict;  // in_use: as without the finding
    std::string_view found;
    std::string_view done;
    std::string_view advice;
};

constexpr std::array<Row, 15> rows{{
    {Situation::torn_tail,
     Gravity::note,
     Verdict::in_use,
     "the last write is not whole",
     "what is missing of it was not acknowledged and is left out",
     "nothing is to be done"},
    {Situation::torn_middle,
     Gravity::note,
     Verdict::in_use,
     "the last write has a gap",
     "what is missing of it was not acknowledged and is left out, the rest is kept",
     "nothing is to be done"},
    {Situation::older_life,
     Gravity::note,
     Verdict::in_use,
     "behind the last record lie some of an earlier life of the file",
     "they are left out",
     "nothing is to be done"},
    {Situation::damaged_record,
     Gravity::damage,
     Verdict::set_aside,
     "what was acknowledged does not match its sum",
     "it is left out, the rest is kept, and the file is set aside",
     "look for errors of the disk"},
    {Situation::damaged_header,
     Gravity::damage,
     Verdict::set_aside,
     "the first block does not match its sum",
     "the records behind it were read all the same, and the file is set aside",
     "look for errors of the disk"},
    {Situation::torn_header,
     Gravity::note,
     Verdict::unused,
     "the first block is not whole, and no record lies behind it",
     "the file is used anew",
     "nothing is to be done"},
    {Situation::shortened,
     Gravity::damage,
     Verdict::set_aside,
     "the file is shorter than it was made",
     "what is there was read, and the file is set aside",
     "find out who cut it"},
    {Situation::missing_segment,
     Gravity::damage,
     Verdict::in_use,
     "the file is missing",
     "messages in it are lost, and what it says is over may be delivered again",
     "stop, put it back and start again if you have it"},
    {Situation::missing_part,
     Gravity::damage,
     Verdict::set_aside,
     "a part of the message is not there",
     "the message is not delivered, and the file is set aside",
     "see what else was found"},
    {Situation::misplaced,
     Gravity::note,
     Verdict::in_use,
     "the file has another's name",
     "it was read all the same",
     "if it is a copy, stop, remove it and start again"},
    {Situation::skipped_type,
     Gravity::note,
     Verdict::in_use,
     "there are records of a type that this version does not know",
     "they were passed over, as their writer allows",
     "nothing is to be done"},
    {Situation::unknown_type,
     Gravity::refused,
     Verdict::left_alone,
     "there is a record of a type that this version does not know and must not pass over",
     "the file was not read, what is in it waits",
     "start the version of Postern that wrote it"},
    {Situation::other_version,
     Gravity::refused,
     Verdict::left_alone,
     "the file is of another version of the format than this one's, which is 1",
     "it was not read, what is in it waits",
     "start the version of Postern that wrote it"},
    {Situation::other_host,
     Gravity::refused,
     Verdict::left_alone,
     "the file is of another host's spool",
     "it was not read, what is in it waits",
     "move it back; to take a spool over, move its whole folder"},
    {Situation::foreign_file,
     Gravity::refused,
     Verdict::left_alone,
     "the file is no segment",
     "it was not read",
     "move it out of the spool's folder"},
}};

const Row& row_of(Situation situation) {
    const Row& row = rows.at(static_cast<std::size_t>(situation));
    POSTERN_ASSERT(row.situation == situation, "the rows stand in the order of the situations");
    return row;
}

}  // namespace

Finding finding_of(
    Situation situation,
    std::uint32_t slot,
    std::uint32_t offset,
    std::uint32_t size,
    const Id& id,
    const std::string& detail) {
    const Row& row = row_of(situation);
    std::string text = segment_file_name(slot);
    if (offset != 0) {
        text += " at octet " + std::to_string(offset);
    }
    text.append(": ").append(row.found);
    std::string particulars = detail;
    const auto add = [&particulars](const std::string& more) {
        particulars += (particulars.empty() ? "" : ", ") + more;
    };
    if (size != 0) {
        add(std::to_string(size) + " octets");
    }
    if (id != Id{}) {
        add("message " + text_of(id));
    }
    if (!particulars.empty()) {
        text += " (" + particulars + ")";
    }
    text.append("; ").append(row.done).append("; ").append(row.advice);
    return {situation, row.gravity, slot, offset, size, id, std::move(text)};
}

Segment::Verdict verdict_of(Situation situation) {
    return row_of(situation).verdict;
}

}  // namespace postern::journal
