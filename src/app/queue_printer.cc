#include "queue_printer.h"

#include <cstdio>

#include <fmt/format.h>

#include "queue_rows.h"
#include "say.h"

namespace postern::app {

void QueuePrinter::print(const nlohmann::json& message) {
    if (json_) {
        say(stdout, "{}{}", count_ == 0 ? "[" : ",\n ", line_of(message));
    } else if (whole_) {
        say(stdout, "{}", queue_details(message));
    } else {
        say(stdout, "{}{}", count_ == 0 ? queue_heading() : "", queue_entry(message));
    }
    ++count_;
}

void QueuePrinter::end(bool more) const {
    if (json_) {
        say(stdout, "{}]\n", count_ == 0 ? "[" : "");
    } else if (!whole_) {
        say(stdout, "{}{}\n", messages_text(count_), more ? ", and there are more" : "");
    }
}

}  // namespace postern::app
