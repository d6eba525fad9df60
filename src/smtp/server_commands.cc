#include <algorithm>
#include <array>
#include <charconv>

#include "postern/smtp/characters.h"
#include "postern/smtp/server_session.h"

/// The commands of the server's session: the verb table, and what each row does.
namespace postern::smtp {
namespace {

constexpr std::string_view crlf = "\r\n";

class Writer {
   public:
    explicit Writer(std::span<char>& output) : output_(output) {}

    void text(std::string_view part) {
        std::copy(part.begin(), part.end(), output_.begin());
        output_ = output_.subspan(part.size());
    }

   private:
    std::span<char>& output_;
};

}  // namespace

// --- the verb table ------------------------------------------------------------------------------

/// Whether something stands behind a verb.
enum class Argument : std::uint8_t { none, optional, needed };

/// `check` reads the argument and says what is wrong with it; `proceed` acts. Outside of `phases`
/// the answer is 503.
struct VerbRow {
    using Session = ServerSession;
    using Phase = ServerSession::Phase;
    using Check = Answer (ServerSession::*)(Exchange&, std::string_view);
    using Proceed = ServerSession::Next (ServerSession::*)(Exchange&, std::string_view);

    std::string_view name;
    unsigned phases;
    Argument argument;
    bool has_address;     // the argument is one, for the log
    bool errors_counted;  // towards errors_max
    Check check;
    Proceed proceed;

    static constexpr unsigned any = 63;
    static constexpr unsigned between =
        static_cast<unsigned>(Phase::ready) | static_cast<unsigned>(Phase::chunks_failed);
    static constexpr unsigned apart =
        static_cast<unsigned>(Phase::start) | static_cast<unsigned>(Phase::ready);
    static constexpr unsigned addressed = static_cast<unsigned>(Phase::recipients);
    static constexpr unsigned begun = static_cast<unsigned>(Phase::mail) | addressed;

    static const VerbRow* find(std::string_view verb);
};

const VerbRow* VerbRow::find(std::string_view verb) {
    using S = Session;
    using enum Argument;
    // BDAT may come at any time: its octets must be taken even where it is refused (RFC 3030,
    // section 2). RCPTs that are refused are not counted: a pipeline sends them behind a refused
    // MAIL.
    // clang-format off
    static constexpr std::array rows = {
        VerbRow{"EHLO",    any,       optional, false, true,  &S::check_hello,     &S::proceed_extended_hello                 },
        VerbRow{"HELO",    any,       optional, false, true,  &S::check_hello,     &S::proceed_hello                          },
        VerbRow{"MAIL",    between,   needed,   true,  true,  &S::check_mail,      &S::proceed_mail                           },
        VerbRow{"RCPT",    begun,     needed,   true,  false, &S::check_recipient, &S::proceed_recipient                      },
        VerbRow{"DATA",    addressed, none,     false, true,  &S::check_nothing,   &S::proceed_data                           },
        VerbRow{"BDAT",    any,       needed,   false, true,  &S::check_chunk,     &S::proceed_chunk                          },
        VerbRow{"AUTH",    any,       optional, false, true,  &S::check_auth,      &S::proceed_auth                           },
        VerbRow{"RSET",    any,       none,     false, true,  &S::check_nothing,   &S::proceed_reset                          },
        VerbRow{"STARTTLS", between,  none,     false, true,  &S::check_starttls,  &S::proceed_starttls                       },
        VerbRow{"QUIT",    any,       none,     false, true,  &S::check_nothing,   &S::proceed_quit                           },
        VerbRow{"NOOP",    any,       optional, false, true,  &S::check_nothing,   &S::proceed_saying<Answer::ok>             },
        VerbRow{"HELP",    any,       optional, false, true,  &S::check_nothing,   &S::proceed_saying<Answer::help>           },
        VerbRow{"VRFY",    any,       needed,   false, true,  &S::check_nothing,   &S::proceed_saying<Answer::vrfy>           },
        VerbRow{"EXPN",    any,       optional, false, true,  &S::check_nothing,   &S::proceed_saying<Answer::not_implemented>},
        VerbRow{"ETRN",    any,       optional, false, true,  &S::check_nothing,   &S::proceed_saying<Answer::not_implemented>},
        VerbRow{"XCLIENT", apart,     needed,   false, true,  &S::check_introduction<Introduction::client>,  &S::proceed_introduction<Introduction::client> },
        VerbRow{"XFORWARD", apart,    needed,   false, true,  &S::check_introduction<Introduction::forward>, &S::proceed_introduction<Introduction::forward>},
        VerbRow{"GET",     any,       optional, false, true,  &S::check_nothing,   &S::proceed_http                           },
        VerbRow{"POST",    any,       optional, false, true,  &S::check_nothing,   &S::proceed_http                           },
        VerbRow{"PUT",     any,       optional, false, true,  &S::check_nothing,   &S::proceed_http                           },
        VerbRow{"HEAD",    any,       optional, false, true,  &S::check_nothing,   &S::proceed_http                           },
        VerbRow{"DELETE",  any,       optional, false, true,  &S::check_nothing,   &S::proceed_http                           },
        VerbRow{"OPTIONS", any,       optional, false, true,  &S::check_nothing,   &S::proceed_http                           },
        VerbRow{"CONNECT", any,       optional, false, true,  &S::check_nothing,   &S::proceed_http                           },
        VerbRow{"TRACE",   any,       optional, false, true,  &S::check_nothing,   &S::proceed_http                           },
        VerbRow{"PATCH",   any,       optional, false, true,  &S::check_nothing,   &S::proceed_http                           },
        VerbRow{"PRI",     any,       optional, false, true,  &S::check_nothing,   &S::proceed_http                           },
    };
    // clang-format on
    const auto row = std::find_if(rows.begin(), rows.end(), [&](const VerbRow& candidate) {
        return equal_ignoring_case(candidate.name, verb);
    });
    return row == rows.end() ? nullptr : &*row;
}

// --- running a command ---------------------------------------------------------------------------

ServerSession::Next ServerSession::run_command(Exchange& exchange, std::string_view line) {
    if (could_end_line(line)) {
        say_refusal(exchange, Answer::bad_syntax);
        return std::nullopt;
    }
    // RFC 5321, section 4.1.1: blanks at the end are tolerated.
    line = line.substr(0, line.find_last_not_of(" \t") + 1);
    const std::string_view verb = line.substr(0, line.find(' '));
    std::string_view argument = line.substr(verb.size());
    argument.remove_prefix(std::min(argument.find_first_not_of(' '), argument.size()));

    exchange.refusal.verb = verb;
    const VerbRow* row = VerbRow::find(verb);
    const bool no_tls = row != nullptr && row->proceed == &ServerSession::proceed_starttls &&
                        !secure_ && !offers(Extension::starttls);
    if (row == nullptr || no_tls) {
        exchange.refusal.verb = {};  // it may be a password whose AUTH was refused
        say_refusal(exchange, verb.empty() ? Answer::bad_syntax : Answer::unrecognized);
        return std::nullopt;
    }
    exchange.refusal.verb = row->name;
    if (row->has_address) {
        exchange.refusal.address = argument;
    }
    const bool behind_mail = behind_mail_;
    behind_mail_ = row->proceed == &ServerSession::proceed_mail ||
                   (behind_mail && row->proceed == &ServerSession::proceed_recipient);
    Answer wrong = Answer::none;
    if ((row->phases & static_cast<unsigned>(phase_)) == 0) {
        wrong = wrong_order(*row);
    } else if (row->argument == Argument::none && !argument.empty()) {
        wrong = Answer::argument_unwanted;
    } else if (row->argument == Argument::needed && argument.empty()) {
        wrong = Answer::argument_missing;
    } else {
        wrong = (this->*row->check)(exchange, argument);
    }
    if (wrong != Answer::none) {
        // DATA is in one flight with a MAIL that was refused (RFC 2920, section 3.1).
        say_refusal(
            exchange, wrong, row->errors_counted && !(wrong == Answer::mail_first && behind_mail));
        if (phase_ == Phase::chunks && row->proceed == &ServerSession::proceed_chunk) {
            // What the chunk held is not known, and without it the message is not whole (RFC 3030,
            // section 2).
            drop_body(wrong);
            phase_ = Phase::chunks_failed;
        }
        if (wrong == Answer::endless_chunk) {
            mode_ = Mode::closing;
        }
        return std::nullopt;
    }
    return (this->*row->proceed)(exchange, argument);
}

Answer ServerSession::wrong_order(const VerbRow& row) const {
    if (row.phases == VerbRow::apart) {
        return Answer::transaction_open;
    }
    switch (phase_) {
        case Phase::start:
            return Answer::hello_first;
        case Phase::ready:
        case Phase::chunks_failed:
            return Answer::mail_first;
        case Phase::mail:
            if (row.phases == VerbRow::addressed) {
                return recipient_tried_ ? Answer::no_recipients : Answer::recipient_first;
            }
            return Answer::transaction_open;
        case Phase::recipients:
            return Answer::transaction_open;
        case Phase::chunks:
            return row.phases == VerbRow::between ? Answer::transaction_open
                                                  : Answer::data_in_chunks;
    }
    return Answer::transaction_open;
}

// --- what each does ------------------------------------------------------------------------------

void ServerSession::greet(Exchange& exchange) {
    Writer out(exchange.output);
    out.text("220 ");
    out.text(settings_->hostname);
    out.text(" ESMTP Postern\r\n");
}

Answer ServerSession::check_nothing(Exchange&, std::string_view) {
    return Answer::none;
}

/// A domain or an address literal is asked for; the world says other things too. What would break
/// our Received: line is refused.
Answer ServerSession::check_hello(Exchange&, std::string_view argument) {
    const bool good = !argument.empty() && argument.size() <= hello_name_max &&
                      std::all_of(argument.begin(), argument.end(), [](char c) {
                          return is_visible(c) &&
                                 std::string_view("()<>@,;\"\\").find(c) == std::string_view::npos;
                      });
    return good ? Answer::none : Answer::hello_argument;
}

void ServerSession::take_hello(std::string_view name, bool esmtp) {
    std::copy(name.begin(), name.end(), hello_name_.begin());
    hello_name_size_ = static_cast<std::uint8_t>(name.size());
    esmtp_ = esmtp;
    end_transaction(Phase::ready);
}

ServerSession::Next ServerSession::proceed_hello(Exchange& exchange, std::string_view argument) {
    take_hello(argument, false);
    Writer out(exchange.output);
    out.text("250 ");
    out.text(settings_->hostname);
    out.text(crlf);
    return std::nullopt;
}

ServerSession::Next ServerSession::proceed_extended_hello(
    Exchange& exchange, std::string_view argument) {
    take_hello(argument, true);
    Writer out(exchange.output);
    std::string_view line = settings_->hostname;
    std::array<char, 128> text;
    const ExtensionSet offered = this->offered();
    // Each line is written when it is known whether another one follows.
    for (const ExtensionRow& row : extension_rows()) {
        if ((offered & set_of(row.extension)) == 0) {
            continue;
        }
        out.text("250-");
        out.text(line);
        out.text(crlf);
        line = row.keyword;
        if (row.ehlo_argument != nullptr) {
            char* at = std::copy(line.begin(), line.end(), text.begin());
            *at++ = ' ';
            const auto used = static_cast<std::size_t>(at - text.data());
            line = {
                text.data(),
                used + row.ehlo_argument(settings_->limits, std::span(text).subspan(used))};
        }
    }
    out.text("250 ");
    out.text(line);
    out.text(crlf);
    return std::nullopt;
}

/// "FROM:" or "TO:" and the path behind it. Blanks between the two are wrong and common.
Answer ServerSession::check_mail(Exchange& exchange, std::string_view argument) {
    constexpr std::string_view from = "FROM:";
    if (!equal_ignoring_case(argument.substr(0, from.size()), from)) {
        return Answer::argument_missing;
    }
    argument.remove_prefix(from.size());
    argument.remove_prefix(std::min(argument.find_first_not_of(' '), argument.size()));
    PathError error = PathError::none;
    const std::size_t size = parse_path(argument, PathKind::reverse, exchange.path, error);
    switch (error) {
        case PathError::none:
            break;
        case PathError::syntax:
            return Answer::sender_syntax;
        case PathError::too_long:
            return Answer::sender_too_long;
        case PathError::domain:
            return Answer::sender_domain;
    }
    exchange.parameters = {};
    const Answer answer = parse_mail_parameters(
        argument.substr(size), esmtp_ ? offered() : ExtensionSet{0}, exchange.parameters);
    if (answer != Answer::none) {
        return answer;
    }
    if (exchange.path.non_ascii && !exchange.parameters.smtputf8) {
        return Answer::sender_needs_smtputf8;
    }
    return exchange.parameters.size > settings_->limits.message_size_max ? Answer::too_large
                                                                         : Answer::none;
}

ServerSession::Next ServerSession::proceed_mail(Exchange& exchange, std::string_view) {
    smtputf8_ = exchange.parameters.smtputf8;
    recipient_tried_ = false;
    recipient_count_ = 0;
    mode_ = Mode::await_begin;
    return Wish::begin;
}

Answer ServerSession::check_recipient(Exchange& exchange, std::string_view argument) {
    constexpr std::string_view to = "TO:";
    recipient_tried_ = true;
    if (!equal_ignoring_case(argument.substr(0, to.size()), to)) {
        return Answer::argument_missing;
    }
    argument.remove_prefix(to.size());
    argument.remove_prefix(std::min(argument.find_first_not_of(' '), argument.size()));
    PathError error = PathError::none;
    const std::size_t size = parse_path(argument, PathKind::forward, exchange.path, error);
    switch (error) {
        case PathError::none:
            break;
        case PathError::syntax:
            return Answer::recipient_syntax;
        case PathError::too_long:
            return Answer::recipient_too_long;
        case PathError::domain:
            return Answer::recipient_domain;
    }
    exchange.recipient_parameters = {};
    const Answer answer = parse_recipient_parameters(
        argument.substr(size), esmtp_ ? offered() : ExtensionSet{0}, exchange.recipient_parameters);
    if (answer != Answer::none) {
        return answer;
    }
    const bool ascii =
        !exchange.path.non_ascii && is_ascii(exchange.recipient_parameters.original_recipient);
    if (!ascii && !smtputf8_) {
        return Answer::recipient_needs_smtputf8;
    }
    return recipient_count_ >= settings_->limits.recipients_max ? Answer::too_many_recipients
                                                                : Answer::none;
}

ServerSession::Next ServerSession::proceed_recipient(Exchange&, std::string_view) {
    mode_ = Mode::await_recipient;
    return Wish::recipient;
}

ServerSession::Next ServerSession::proceed_data(Exchange&, std::string_view) {
    mode_ = Mode::await_data;
    return Wish::body;
}

/// RFC 3030, section 2: chunk-size [SP "LAST"].
Answer ServerSession::check_chunk(Exchange&, std::string_view argument) {
    if (!offers(Extension::chunking)) {
        return Answer::unrecognized;
    }
    const std::string_view size = argument.substr(0, argument.find(' '));
    std::string_view rest = argument.substr(size.size());
    rest.remove_prefix(std::min(rest.find_first_not_of(' '), rest.size()));
    const char* const size_end = size.data() + size.size();
    const auto [end, error] = std::from_chars(size.data(), size_end, chunk_left_);
    if (error != std::errc{}) {
        // With a size there is something to throw away, without one there is not.
        return error == std::errc::result_out_of_range ? Answer::endless_chunk
                                                       : Answer::bad_parameter;
    }
    last_chunk_ = equal_ignoring_case(rest, "LAST");
    chunk_malformed_ = end != size_end || (!rest.empty() && !last_chunk_);
    return Answer::none;
}

/// Whatever is wrong, the chunk's octets come behind the command and are none themselves (RFC 3030,
/// section 2): they are thrown away before it is answered.
ServerSession::Next ServerSession::proceed_chunk(Exchange& exchange, std::string_view) {
    mode_ = Mode::chunk;
    switch (phase_) {
        case Phase::recipients:
            if (chunk_malformed_ || chunk_left_ > settings_->limits.message_size_max) {
                begin_body(Mode::chunk);
                fail_body(exchange, chunk_malformed_ ? Answer::bad_parameter : Answer::too_large);
                return std::nullopt;
            }
            mode_ = Mode::await_chunk;
            return Wish::body;
        case Phase::chunks:
            if (chunk_malformed_) {
                fail_body(exchange, Answer::bad_parameter);
            } else if (
                chunk_left_ > settings_->limits.message_size_max ||
                body_size_ + chunk_left_ > settings_->limits.message_size_max) {
                fail_body(exchange, Answer::too_large);
            }
            return std::nullopt;
        case Phase::mail:
            fail_body(exchange, recipient_tried_ ? Answer::no_recipients : Answer::recipient_first);
            return std::nullopt;
        case Phase::start:
        case Phase::ready:
            body_failure_ = Answer::none;
            fail_body(exchange, phase_ == Phase::start ? Answer::hello_first : Answer::mail_first);
            return std::nullopt;
        case Phase::chunks_failed:
            return std::nullopt;  // as the chunk before
    }
    return std::nullopt;
}

/// Whoever may not say it learns nothing of what it would have come to.
template <Introduction kind>
Answer ServerSession::check_introduction(Exchange&, std::string_view argument) {
    constexpr Extension extension =
        kind == Introduction::client ? Extension::xclient : Extension::xforward;
    if ((settings_->hidden & set_of(extension)) != 0) {
        return Answer::unrecognized;
    }
    if (!offers(extension)) {
        return Answer::not_authorized;
    }
    StatedAttribute stated;
    while (!argument.empty()) {
        if (!take_attribute(argument, kind, stated)) {
            return Answer::bad_parameter;
        }
    }
    return Answer::none;
}

template <Introduction kind>
ServerSession::Next ServerSession::proceed_introduction(
    Exchange& exchange, std::string_view argument) {
    exchange.introduction = kind;
    exchange.attributes = argument;
    mode_ = Mode::await_introduced;
    return Wish::introduced;
}

ServerSession::Next ServerSession::proceed_reset(Exchange& exchange, std::string_view) {
    end_transaction(phase_ == Phase::start ? Phase::start : Phase::ready);
    say(exchange, Answer::ok);
    return std::nullopt;
}

Answer ServerSession::check_starttls(Exchange&, std::string_view) {
    return secure_ ? Answer::tls_already : Answer::none;
}

ServerSession::Next ServerSession::proceed_starttls(Exchange&, std::string_view) {
    end_transaction(Phase::ready);  // one whose chunks have failed
    mode_ = Mode::await_tls;
    return Wish::start_tls;
}

ServerSession::Next ServerSession::proceed_quit(Exchange& exchange, std::string_view) {
    quit_ = true;
    end(exchange, Answer::goodbye);
    return std::nullopt;
}

ServerSession::Next ServerSession::proceed_http(Exchange& exchange, std::string_view) {
    end(exchange, Answer::not_http);
    return std::nullopt;
}

template <Answer text>
ServerSession::Next ServerSession::proceed_saying(Exchange& exchange, std::string_view) {
    if (answer_row(text).reply.permanent()) {
        say_refusal(exchange, text);
    } else {
        say(exchange, text);
    }
    return std::nullopt;
}

}  // namespace postern::smtp
