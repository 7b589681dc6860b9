// OpenAI Responses: the writer of answers (responses_writer.cc), used by the dialect (openai_responses.cc).
#pragma once

#include <memory>

#include "serve/dialect.h"

namespace hadal::serve {

std::unique_ptr<AnswerWriter> responses_writer(std::shared_ptr<const Ask> ask, AnswerHead head);

}  // namespace hadal::serve
