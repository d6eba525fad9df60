// Writes notifications of every kind into a folder, for read_test.py.
//
// usage: notify-samples FOLDER

#include <fstream>
#include <iostream>
#include <string>
#include <vector>

#include "postern/notify/notification.h"

namespace {

using namespace postern;
using namespace std::chrono;
using notify::Action;

constexpr base::WallTime arrived = sys_days{November / 22 / 2026} + 9h + 5min + 3s;

struct Sample {
    std::string name;
    Action action = Action::failed;
    mail::Envelope envelope;
    std::string content =
        "Received: from x\r\n\tby y\r\nSubject: hello\r\nMessage-ID: <1@example.org>\r\n\r\nthe "
        "body\r\n";
    std::vector<notify::RecipientReport> recipients;

    Sample(std::string file, Action told) : name(std::move(file)), action(told) {
        envelope.reverse_path = "anna@example.org";
        envelope.envelope_id = "Q+2B1";
        recipients.resize(2);
        recipients[0].address = "bert@example.com";
        recipients[0].original_recipient = "rfc822;bert+2Bold@example.com";
        recipients[1].address = "\"c. d\"@[192.0.2.7]";
        for (notify::RecipientReport& recipient : recipients) {
            recipient.host = "mx1.internal:25";
            recipient.last_attempt = arrived + 2s;
        }
    }

    void write(const std::string& folder) const {
        const notify::Notification made = notify::compose(
            {.action = action,
             .hostname = "gw.example.net",
             .id = "0123ABD",
             .date = arrived + 1h,
             .envelope = envelope,
             .message_id = "0123ABC",
             .arrived = arrived,
             .content = content,
             .content_size = content.size(),
             .recipients = recipients});
        std::ofstream(folder + "/" + name, std::ios::binary) << made.content;
    }
};

}  // namespace

int main(int count, char** arguments) {
    if (count != 2) {
        std::cerr << "usage: notify-samples FOLDER\n";
        return 2;
    }
    const std::string folder = arguments[1];

    Sample failed("failed", Action::failed);
    failed.recipients[0].reply = {550, {5, 1, 1}, "no such user\nnor was there ever"};
    failed.recipients[1].reply = {450, {4, 2, 2}, "mailbox full"};
    failed.write(folder);

    Sample full = failed;
    full.name = "failed-full";
    full.envelope.returned = mail::Returned::full;
    full.write(folder);

    full.name = "failed-full-8bit";
    full.content += "\xe4\xf6\r\n";
    full.write(folder);

    Sample delayed("delayed", Action::delayed);
    for (notify::RecipientReport& recipient : delayed.recipients) {
        recipient.host = {};
        recipient.reply = {451, {4, 4, 1}, "no host reachable"};
        recipient.retried_until = arrived + 120h;
    }
    delayed.write(folder);

    Sample relayed("relayed", Action::relayed);
    for (notify::RecipientReport& recipient : relayed.recipients) {
        recipient.reply = {250, {2, 1, 5}, "ok"};
    }
    relayed.write(folder);

    Sample utf8 = failed;
    utf8.name = "utf8";
    utf8.envelope.smtputf8 = true;
    utf8.envelope.reverse_path = "\xc3\xa4nna@example.org";
    utf8.content =
        "Subject: h\xc3\xa4llo\r\nTo: <b\xc3\xa9rt@example.com>\r\n\r\nb\xc3\xb6"
        "dy\r\n";
    utf8.recipients.resize(1);
    utf8.recipients[0].address = "b\xc3\xa9rt@example.com";
    utf8.recipients[0].original_recipient = "utf-8;\\x{E9}\\x{2B}x@example.com";
    utf8.write(folder);

    utf8.name = "utf8-full";
    utf8.envelope.returned = mail::Returned::full;
    utf8.write(folder);

    Sample hostile = failed;
    hostile.name = "hostile";
    const std::string text = "\r\n\r\n--=_0123ABD--\r\nBcc: x@y\r" + std::string(1, '\0') +
                             "\n\xff\x1b[2J" + std::string(5000, 'x');
    hostile.envelope.envelope_id = "a+0D+0ABcc:+20x@y";
    hostile.content = "Subject: " + text;
    hostile.envelope.returned = mail::Returned::full;
    for (notify::RecipientReport& recipient : hostile.recipients) {
        recipient.host = recipient.address = recipient.original_recipient = text;
        recipient.reply.text = text;
    }
    hostile.recipients[0].original_recipient = "rfc822;+0D+0AStatus:+202.0.0";
    hostile.write(folder);
    return 0;
}
