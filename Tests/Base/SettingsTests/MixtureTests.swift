import Settings
import Testing

private typealias Weighted = ResolvedPlan.DataChoice.WeightedSource

private func resolve(
  _ text: String, _ sets: [(key: String, value: String)] = [], data: String? = nil
) throws(PlanError) -> PlanResolution {
  try PlanResolver.resolve(text: text, path: "test.json", sets: sets, dataOverride: data)
}

private func message(_ text: String, _ sets: [(key: String, value: String)] = []) -> String {
  do throws(PlanError) {
    _ = try resolve(text, sets)
    return "no error"
  } catch {
    #expect(error.exitCode.rawValue == 78)
    return error.message
  }
}

@Suite struct `Data mixtures of a plan` {
  /// A plan whose anneal has a mixture of its own.
  private static let plan = """
    {
      "data": { "source": "books", "split": "documents 0.2" },
      "phases": [
        { "kind": "tokenizer" },
        { "kind": "pretrain", "steps": 20 },
        {
          "kind": "anneal",
          "data": {
            "mixture": [
              { "source": "books", "weight": 3 },
              { "source": "world", "documents": 40 },
              { "source": "world", "seed": 7, "weight": 0.5 },
            ],
            "order": "random",
          },
        },
      ],
    }
    """

  @Test func `are a phase's own, and read back from the resolved plan`() throws {
    let resolution = try resolve(Self.plan)
    let data = resolution.plan.phases[2].data
    #expect(
      data.sources == [
        Weighted(.path("books"), weight: 3), Weighted(.world(seed: 1, documents: 40)),
        Weighted(.world(seed: 7, documents: 10_000), weight: 0.5),
      ])
    #expect(data.split == .documents(0.2) && data.order == .random && data.isMixture)
    #expect(resolution.plan.phases[1].data.sources == [Weighted(.path("books"))])
    #expect(try ResolvedPlan(planJSON: resolution.resolvedJSON) == resolution.plan)
    func origin(_ key: String) -> String? {
      resolution.derivations.first { $0.key == "phases[2].data.mixture[\(key)" }?.origin.text(
        path: "p.json")
    }
    #expect(origin("0].weight") == "p.json:10" && origin("1].weight") == "default")
    #expect(origin("1].documents") == "p.json:11" && origin("1].seed") == "seed")
    #expect(
      resolution.place(ofSource: "world 7") == "phases[2].data.mixture[2].source, test.json:12")
  }

  @Test func `of the plan hold for every phase that names no source`() throws {
    let text = """
      { "data": { "mixture": [ { "source": "world" }, { "source": "a.txt" } ] },
        "phases": [ { "kind": "tokenizer" }, { "kind": "pretrain", "steps": 2 },
          { "kind": "anneal", "steps": 2, "data": { "order": "random" } },
          { "kind": "sft", "data": { "source": "world" } },
          { "kind": "evaluate", "data": { "source": "b.txt" } } ] }
      """
    let plan = try resolve(text).plan
    let mixture = [Weighted(.world(seed: 1, documents: 10_000)), Weighted(.path("a.txt"))]
    #expect(plan.phases.prefix(3).allSatisfy { $0.data.sources == mixture })
    #expect(plan.phases[2].data.order == .random)
    #expect(plan.phases[3].data.source == .world(seed: 1, documents: 10_000))
    #expect(plan.phases[4].data.sources == [Weighted(.path("b.txt"))])
    // Text that is not the world's alone fills a larger vocabulary.
    #expect(plan.tokenizer.vocabularySize == 2048)
    #expect(try ResolvedPlan(planJSON: plan.planJSON()) == plan)
  }

  @Test func `of worlds take what the plan says of its world, and the world's vocabulary`() throws {
    let plan = try resolve(
      """
      { "data": { "seed": 4, "documents": 50, "mixture": [ { "source": "world" },
          { "source": "world", "seed": 5 } ] } }
      """
    ).plan
    #expect(
      plan.phases[1].data.sources == [
        Weighted(.world(seed: 4, documents: 50)), Weighted(.world(seed: 5, documents: 50)),
      ])
    #expect(plan.tokenizer.vocabularySize == 1024)
  }

  @Test func `of one source are that source`() throws {
    func plan(_ data: String) throws -> ResolvedPlan {
      try resolve("{ \"data\": \(data) }").plan
    }
    let alone = try plan(#"{ "source": "a.txt" }"#)
    #expect(try plan(#"{ "mixture": [ { "source": "a.txt", "weight": 4 } ] }"#) == alone)
    #expect(alone.planJSON().contains("\"source\": \"a.txt\""))
    #expect(!alone.planJSON().contains("mixture"))
  }

  @Test func `give way to options, source by source or as a whole`() throws {
    let key = "phases.anneal.data"
    func sources(_ sets: (String, String)..., data: String? = nil) throws -> [Weighted] {
      try resolve(Self.plan, sets.map { (key: $0.0, value: $0.1) }, data: data).plan.phases[2].data
        .sources
    }
    #expect(try sources(("\(key).mixture[1].weight", "2"))[1].weight == 2)
    #expect(try sources(("\(key).source", "x.txt")) == [Weighted(.path("x.txt"))])
    #expect(
      try sources(("\(key).mixture", #"[{"source": "x"}, {"source": "y", "weight": 2}]"#))
        == [Weighted(.path("x")), Weighted(.path("y"), weight: 2)])
    #expect(try sources(data: "y.txt") == [Weighted(.path("y.txt"))])
    let none = message(Self.plan, [("\(key).mixture[3].weight", "2")])
    #expect(
      none == """
        Error: phases[2].data.mixture has no such source in \
        --set phases.anneal.data.mixture[3].weight=2
              phases[2].data.mixture has 3, counted from 0
        """)
    #expect(
      message(Self.plan, [("data.mixture[0].weight", "2")]).hasSuffix("data.mixture is not given"))
  }

  @Test func `cannot be changed under a run`() throws {
    let old = try resolve(Self.plan)
    let new = try resolve(Self.plan, [("phases.anneal.data.mixture[0].weight", "4")])
    let difference = PlanDifference(
      from: old.plan, to: new.plan, derivations: new.derivations)
    let line = "phases[2].data.mixture[0].weight: 3 -> 4  (alters steps already taken)"
    #expect(difference.lines == [line])
  }

  @Test(arguments: [
    (
      #"{"data": {"mixture": [{"source": "a", "weight": 0}]}}"#,
      "data.mixture[0].weight is the number 0 at test.json:1:49",
      "expected a number from 1e-06 to 1000000"
    ),
    (
      #"{"data": {"mixture": [{"source": "a", "weight": -1}]}}"#,
      "data.mixture[0].weight is the number -1 at test.json:1:49", "expected a number"
    ),
    (
      #"{"data": {"mixture": []}}"#, "data.mixture is empty at test.json:1:22",
      #"give { "source": ..., "weight": ... } for each source, or remove it"#
    ),
    (
      #"{"data": {"source": "b", "mixture": [{"source": "a"}]}}"#,
      "data.source and data.mixture are both given at test.json:1:37",
      "keep one of them: a mixture names all its sources itself"
    ),
    (
      #"{"data": {"mixture": [{"source": "a"}, {"weight": 2}]}}"#,
      "data.mixture[1] has no source at test.json:1:40",
      #"add "source": "world", or a file or folder of text"#
    ),
    (
      #"{"data": {"mixture": [{"source": "a"}, 3]}}"#,
      "data.mixture[1] is the number 3 at test.json:1:40", "expected a section { }"
    ),
    (
      #"{"data": {"mixture": "a"}}"#, "data.mixture is the text 'a' at test.json:1:22",
      "expected a list of sections [ { } ]"
    ),
    (
      #"{"data": {"mixture": [{"source": "a", "wait": 2}]}}"#,
      "unknown key 'wait' at test.json:1:39", "data.mixture[0] has source, seed, documents, weight"
    ),
    (
      #"{"data": {"mixture": [{"source": "a", "seed": 2}, {"source": "world"}]}}"#,
      "data.mixture[0].seed is for the generated world, not for 'a' at test.json:1:47",
      "remove it"
    ),
    (
      #"{"data": {"seed": 2, "mixture": [{"source": "a"}, {"source": "b"}]}}"#,
      "data.seed is for the generated world, not for 'a' at test.json:1:19", "remove it"
    ),
    (
      #"{"phases": [{"kind": "tokenizer"}, {"kind": "pretrain", "steps": 1, "data": "#
        + #"{"documents": 9, "mixture": [{"source": "world"}, {"source": "a"}]}}]}"#,
      "phases[1].data.documents says nothing of a mixture at test.json:1:91",
      "write it beside the source that it is about"
    ),
    (
      #"{"data": {"mixture": [{"source": "a"}, {"source": "b"}]}, "#
        + #""phases": [{"kind": "tokenizer"}, {"kind": "sft"}]}"#,
      "'sft' reads the examples of one source, not of a mixture at test.json:1:22",
      #"give the phase "data": { "source": ... } of its own"#
    ),
  ])
  func `that cannot be are refused once, with place and mend`(
    text: String, summary: String, mend: String
  ) {
    let found = message(text)
    #expect(found.hasPrefix("Error: \(summary)\n"), "\(found)")
    #expect(found.contains("^ \(mend)"), "\(found)")
    #expect(found.split(separator: "Error: ").count == 1, "\(found)")
  }
}

@Suite struct `The order of a mixture` {
  private static let weights: [[Double]] = [
    [3, 1], [1, 3], [1, 1, 1], [0.001, 5, 2.5, 0.1], [1, 1, 1, 1, 1, 1, 96], [96, 1, 1, 1, 1],
    [1e6, 1e-6], [1],
  ]

  @Test(arguments: weights)
  func `gives every source its share of any number of sequences`(weights: [Double]) {
    let order = MixtureOrder(weights: weights)
    let sum = weights.reduce(0, +)
    var counts = weights.map { _ in 0 }
    var error = 0.0
    for number in 0..<20_000 {
      #expect(order.counts(ofFirst: number) == counts)
      let (source, index) = order.place(of: number)
      #expect(index == counts[source])
      counts[source] += 1
      for (count, weight) in zip(counts, weights) {
        error = max(error, abs(Double(count) - Double(number + 1) * weight / sum))
      }
    }
    #expect(error <= Double(weights.count) / 2, "\(error) sequences off")
  }

  @Test func `holds as well far from the beginning`() {
    let order = MixtureOrder(weights: [2, 1])
    let far = 3_000_000_000_000
    #expect(order.counts(ofFirst: far) == [2_000_000_000_000, 1_000_000_000_000])
    let counts = (far..<far + 6).map { order.place(of: $0).source }
    #expect(counts.count { $0 == 0 } == 4 && counts.count { $0 == 1 } == 2)
  }
}
