#pragma once

#include <map>
#include <string>
#include <vector>

#include "postern/smtp/server_session.h"
#include "script.h"

namespace postern::smtp::test {

/// Drives a ServerSession as `inbound` does, with strings for memory, and checks on the way what
/// every driver may rely on.
class SessionDriver {
   public:
    explicit SessionDriver(const ServerSettings& settings);

    /// What the world says; may be replaced.
    std::vector<std::string>
        rules;  // as in a rules file; only domains, "*", and the targets reject: and defer:
    mail::Reply final_answer{250, {2, 0, 0}, "queued"};
    std::map<std::string, std::string> logins;  // names and passwords
    bool checks_passwords = true;               // false: the answer does not come
    bool begin_allowed = true;
    bool body_allowed = true;
    bool tls_allowed = true;          // then TLS begins at once
    std::size_t output_room = 16384;  // what one block of answers holds

    void feed(std::string_view bytes);

    std::string output;
    std::vector<Message> messages;
    std::vector<std::string> introductions;  // "client NAME=..." or "forward NAME=..."
    std::vector<std::string> refusals;       // "verb|address|code"
    mail::NotifySet notify = 0;              // of the last recipient that was accepted
    std::string original_recipient;          // and its ORCPT
    bool closed = false;
    bool hostile = false;  // it ended by itself
    int abandoned = 0;
    ServerSession session;

   private:
    void act(Wish wish, Exchange& exchange);
    void take_recipient(Exchange& exchange);
    void append(const BodyPiece& piece);

    std::string pending_;  // a partial line
    std::string block_;
    bool open_ = false;  // a transaction
    std::string from_;
    std::vector<std::string> to_;
    std::string content_;
    bool eight_bit_ = false;
};

/// What a script's config: lines come to.
struct SettingsHolder {
    explicit SettingsHolder(const Script& script);
    SettingsHolder();
    ServerSettings settings;
    ExtensionSet granted = 0;
};

}  // namespace postern::smtp::test
