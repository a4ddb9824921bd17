import Tensors
import Testing

@Suite struct `Parameter layout` {
  /// Sizes of which hardly one is a multiple of 16.
  private static func shape(isHeadTied: Bool) -> ModelShape {
    ModelShape(
      layerCount: 3, modelWidth: 10, headCount: 4, keyValueHeadCount: 2, headWidth: 6,
      feedForwardWidth: 7, vocabularySize: 13, sequenceLength: 8, isHeadTied: isHeadTied)
  }

  @Test(arguments: [true, false])
  func `tensors start at multiples of 16 and never meet`(isHeadTied: Bool) {
    let layout = ParameterLayout(Self.shape(isHeadTied: isHeadTied))
    var end = 0
    for parameter in layout.parameters {
      #expect(parameter.offset % 16 == 0)
      #expect(parameter.offset >= end && parameter.offset < end + 16)
      end = parameter.range.upperBound
    }
    #expect(layout.count == (end + 15) / 16 * 16)
    #expect(Set(layout.parameters.map(\.name)).count == layout.parameters.count)
  }

  @Test(arguments: [true, false])
  func `counts the parameters of the model`(isHeadTied: Bool) {
    let layout = ParameterLayout(Self.shape(isHeadTied: isHeadTied))
    let (width, attention, keyValue, forward) = (10, 24, 12, 7)
    let layer = 2 * width * attention + 2 * width * keyValue + 3 * width * forward + 2 * width
    let table = 13 * width
    #expect(layout.parameterCount == 3 * layer + width + table * (isHeadTied ? 1 : 2))
    #expect(layout.parameters.count == 3 * 9 + (isHeadTied ? 2 : 3))
  }

  @Test func `stands in the order in which the backward pass finishes`() {
    let tied = ParameterLayout(Self.shape(isHeadTied: true)).parameters
    #expect(tied.prefix(2).map(\.role) == [.embedding, .finalNorm])
    let untied = ParameterLayout(Self.shape(isHeadTied: false)).parameters
    #expect(untied.first?.role == .head && untied.last?.role == .embedding)
    #expect(tied[2].role == .down(layer: 2) && tied.last?.role == .attentionNorm(layer: 0))
  }

  @Test func `a layer's gradients are one range, and the ranges follow one another`() {
    let layout = ParameterLayout(Self.shape(isHeadTied: true))
    var start = layout[.down(layer: 2)].offset
    for layer in [2, 1, 0] {
      let range = layout.range(ofLayer: layer)
      #expect(range.lowerBound == start)
      for parameter in layout.parameters where parameter.name.contains("layers.\(layer).") {
        #expect(range.contains(parameter.offset) && parameter.range.upperBound <= range.upperBound)
      }
      start = range.upperBound
    }
    #expect(start == layout.count)
  }

  @Test func `a shape is told by its role`() {
    let layout = ParameterLayout(Self.shape(isHeadTied: true))
    #expect(layout[.query(layer: 1)].shape == [24, 10])
    #expect(layout[.key(layer: 1)].shape == [12, 10])
    #expect(layout[.attentionOutput(layer: 1)].shape == [10, 24])
    #expect(layout[.down(layer: 1)].shape == [10, 7])
    #expect(layout[.gate(layer: 1)].name == "model.layers.1.mlp.gate_proj.weight")
    let gains = layout.parameters.filter(\.role.isGain)
    #expect(gains.count == 7 && gains.allSatisfy { $0.shape == [10] })
  }
}
