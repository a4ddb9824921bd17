/// How a conversation becomes text for a model, as Jinja.
///
/// One template for every tokenizer that has the special tokens of ``SpecialToken``:
///
///     <|bos|> then for each message  <|user_start|>...<|user_end|>
///                                or  <|assistant_start|>...<|assistant_end|>
///
/// There is no token for a system's message, so a system message opens the user message behind it,
/// with an empty line between them; without one it is refused. The assistant's text and the token
/// that ends it stand between `generation` tags: from these `apply_chat_template` makes the mask of
/// what is to be learned.
public enum ChatTemplate {
  public static let jinja = """
    {{- bos_token -}}
    {%- if messages[0]['role'] == 'system' -%}
      {%- set opening = messages[0]['content'] + '\\n\\n' -%}
      {%- set turns = messages[1:] -%}
      {%- if not turns or turns[0]['role'] != 'user' -%}
        {{- raise_exception('behind a system message comes no user message') -}}
      {%- endif -%}
    {%- else -%}
      {%- set opening = '' -%}
      {%- set turns = messages -%}
    {%- endif -%}
    {%- for message in turns -%}
      {%- if message['role'] == 'user' -%}
        {{- '\(SpecialToken.userStart.rawValue)' + (opening if loop.first else '') -}}
        {{- message['content'] + '\(SpecialToken.userEnd.rawValue)' -}}
      {%- elif message['role'] == 'assistant' -%}
        {{- '\(SpecialToken.assistantStart.rawValue)' -}}
        {%- generation -%}
        {{- message['content'] + '\(SpecialToken.assistantEnd.rawValue)' -}}
        {%- endgeneration -%}
      {%- else -%}
        {{- raise_exception('a message is of user or assistant; one of system may come first') -}}
      {%- endif -%}
    {%- endfor -%}
    {%- if add_generation_prompt -%}
      {{- '\(SpecialToken.assistantStart.rawValue)' -}}
    {%- endif -%}

    """
}

extension Tokenizer {
  /// Whether conversations can be written with this tokenizer.
  public var hasChatTokens: Bool { SpecialToken.allCases.allSatisfy { id(of: $0) != nil } }
}
