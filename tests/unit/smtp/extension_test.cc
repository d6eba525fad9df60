#include "postern/smtp/extension.h"

#include <gtest/gtest.h>

#include <string>

#include "postern/smtp/xtext.h"

namespace postern::smtp {
namespace {

constexpr ExtensionSet all = 0xffff;

TEST(extension, parameters_are_read) {
    MailParameters parameters;
    EXPECT_EQ(
        parse_mail_parameters(" SIZE=12 body=8bitmime  SmtpUtf8", all, parameters), Answer::none);
    EXPECT_EQ(parameters.size, 12U);
    EXPECT_EQ(parameters.body_type, mail::BodyType::eight_bit_mime);
    EXPECT_TRUE(parameters.smtputf8);
}

TEST(extension, what_is_not_offered_is_not_known) {
    MailParameters parameters;
    EXPECT_EQ(parse_mail_parameters(" SIZE=12", 0, parameters), Answer::unknown_parameter);
    EXPECT_EQ(parse_mail_parameters("", 0, parameters), Answer::none);
    EXPECT_EQ(parse_mail_parameters(" PIPELINING", all, parameters), Answer::unknown_parameter);
}

TEST(extension, the_largest_size_is_a_number) {
    MailParameters parameters;
    EXPECT_EQ(parse_mail_parameters(" SIZE=18446744073709551615", all, parameters), Answer::none);
    EXPECT_EQ(parameters.size, UINT64_MAX);
    EXPECT_EQ(parse_mail_parameters(" SIZE=18446744073709551616", all, parameters), Answer::none);
    EXPECT_EQ(parameters.size, UINT64_MAX);
}

Answer of_mail(std::string_view text) {
    MailParameters parameters;
    return parse_mail_parameters(text, all, parameters);
}

Answer of_recipient(std::string_view text) {
    RecipientParameters parameters;
    return parse_recipient_parameters(text, all, parameters);
}

TEST(extension, notifications_are_asked_for_at_mail) {
    MailParameters parameters;
    EXPECT_EQ(parse_mail_parameters(" ret=Full ENVID=QQ+2B1", all, parameters), Answer::none);
    EXPECT_EQ(parameters.returned, mail::Returned::full);
    EXPECT_EQ(parameters.envelope_id, "QQ+2B1");
    EXPECT_EQ(parse_mail_parameters(" RET=HDRS", all, parameters), Answer::none);
    EXPECT_EQ(parameters.returned, mail::Returned::headers);
    const std::string longest(envelope_id_octets_max, 'i');
    EXPECT_EQ(of_mail(" ENVID=" + longest), Answer::none);
    EXPECT_EQ(of_mail(" ENVID=a+20b"), Answer::none);
    for (const std::string& text :
         {std::string(" RET"),
          std::string(" RET=ALL"),
          std::string(" RET=FULL RET=FULL"),
          std::string(" ENVID"),
          std::string(" ENVID="),
          std::string(" ENVID=a+0Ab"),
          std::string(" ENVID=a+09b"),
          std::string(" ENVID=+E4"),
          std::string(" ENVID=+4"),
          std::string(" ENVID=\xc3\xa4"),
          std::string(" ENVID=a ENVID=a"),
          " ENVID=" + longest + "i"}) {
        EXPECT_EQ(of_mail(text), Answer::bad_parameter) << text;
    }
    EXPECT_EQ(of_mail(" NOTIFY=NEVER"), Answer::unknown_parameter);
}

TEST(extension, notifications_are_asked_for_at_rcpt) {
    using enum mail::Notify;
    RecipientParameters parameters;
    EXPECT_EQ(
        parse_recipient_parameters(
            " NOTIFY=success,Failure,DELAY ORCPT=rfc822;b+2Bc@example.com", all, parameters),
        Answer::none);
    EXPECT_EQ(parameters.notify, set_of(success) | set_of(failure) | set_of(delay));
    EXPECT_EQ(parameters.original_recipient, "rfc822;b+2Bc@example.com");
    parameters = {};
    EXPECT_EQ(parse_recipient_parameters(" NOTIFY=NEVER", all, parameters), Answer::none);
    EXPECT_EQ(parameters.notify, set_of(never));
    const std::string longest = "rfc822;" + std::string(original_recipient_octets_max - 7, 'a');
    for (const std::string& text :
         {std::string(),
          std::string(" NOTIFY=DELAY"),
          std::string(" ORCPT=x-any;what"),
          std::string(" ORCPT=rfc822;a+20b"),
          std::string(" ORCPT=utf-8;\\x{E4}@x"),
          std::string(" ORCPT=UTF-8;\xc3\xa4@x"),
          " ORCPT=" + longest}) {
        EXPECT_EQ(of_recipient(text), Answer::none) << text;
    }
    for (const std::string& text :
         {std::string(" NOTIFY"),
          std::string(" NOTIFY="),
          std::string(" NOTIFY=,"),
          std::string(" NOTIFY=NEVER,"),
          std::string(" NOTIFY=NEVER,DELAY"),
          std::string(" NOTIFY=SUCCESS,NEVER"),
          std::string(" NOTIFY=DELAY,DELAY"),
          std::string(" NOTIFY=SUCCESS,,DELAY"),
          std::string(" NOTIFY=ALWAYS"),
          std::string(" NOTIFY=DELAY NOTIFY=DELAY"),
          std::string(" ORCPT"),
          std::string(" ORCPT=a@x"),
          std::string(" ORCPT=;a@x"),
          std::string(" ORCPT=rfc822;"),
          std::string(" ORCPT=rfc822;a+0D+0Ab"),
          std::string(" ORCPT=rfc822;\xc3\xa4@x"),
          std::string(" ORCPT=rfc822;+C3+A4@x"),
          std::string(" ORCPT=utf-8;\\x{0D}@x"),
          std::string(" ORCPT=utf-8;\xc3@x"),
          std::string(" ORCPT=utf-8;a+2Bb@x"),
          " ORCPT=" + longest + "a"}) {
        EXPECT_EQ(of_recipient(text), Answer::bad_parameter) << text;
    }
    EXPECT_EQ(of_recipient(" SIZE=1"), Answer::unknown_parameter);
    EXPECT_EQ(
        parse_recipient_parameters(" NOTIFY=NEVER", all & ~set_of(Extension::dsn), parameters),
        Answer::unknown_parameter);
}

TEST(extension, keywords_are_found_in_any_case) {
    ASSERT_NE(find_extension("chunking"), nullptr);
    EXPECT_EQ(find_extension("chunking")->extension, Extension::chunking);
    EXPECT_EQ(find_extension("BINARYMIME"), nullptr);
    EXPECT_EQ(find_extension(""), nullptr);
}

}  // namespace
}  // namespace postern::smtp
