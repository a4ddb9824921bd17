internal import Checkpoints
internal import ControlProtocol
internal import Corpus
internal import System
internal import Tensors
internal import Transport

/// One worker as the coordinator sees it: its control connection, its bulk connection, and a
/// thread that feeds it the tokens of the operations it may run.
final class WorkerConnection: Sendable {
  /// What the feeder has to send, from where.
  private struct Feed {
    var view = 0
    /// Operations before this were sent in this view.
    var position = 0
    /// Operations before this may be sent.
    var limit = 0
    /// The checkpoint whose state goes first, if any: one from beginning to end, whatever is saved
    /// meanwhile.
    var state: CheckpointReader?
    var bulk: BulkChannel?
    var isClosed = false
  }

  let worker: Int
  let name: String
  let hello: WorkerHello
  /// What it computes with.
  let offer: KernelOffer
  let control: MessageChannel
  private let feed = Monitor(Feed())
  private let source: any FeedSource
  private let onLost: @Sendable (_ reason: String) -> Void

  init(
    worker: Int, name: String, hello: WorkerHello, offer: KernelOffer, control: MessageChannel,
    source: any FeedSource, onLost: @escaping @Sendable (_ reason: String) -> Void
  ) {
    self.worker = worker
    self.name = name
    self.hello = hello
    self.offer = offer
    self.control = control
    self.source = source
    self.onLost = onLost
    startDetachedThread { [self] in serveFeed() }
  }

  /// Sends a control message. A worker that does not take it within 5 s is cut off; its reader
  /// then reports the loss.
  func send(_ message: CoordinatorMessage) {
    do {
      try control.send(MessageCoding.encode(message), deadline: .after(.seconds(5)))
    } catch {
      control.close()
    }
  }

  /// Takes the worker's second connection into use.
  func attach(_ bulk: BulkChannel) {
    let old = feed.update { feed -> BulkChannel? in
      defer { feed.bulk = bulk }
      return feed.bulk
    }
    old?.close()
  }

  /// Whether this is its second connection.
  func isFed(over bulk: BulkChannel) -> Bool { feed.update { $0.bulk === bulk } }

  /// Starts feeding a view from `position`, with the state of `checkpoint` first, if given.
  func feed(view: Int, position: Int, limit: Int, state checkpoint: CheckpointReader?) {
    feed.update { feed in
      feed.view = view
      feed.position = position
      feed.limit = limit
      feed.state = checkpoint
    }
  }

  /// Operations before `limit` may be fed.
  func extendFeed(view: Int, limit: Int) {
    feed.update { if $0.view == view { $0.limit = max($0.limit, limit) } }
  }

  func close() {
    let bulk = feed.update { feed in
      feed.isClosed = true
      return feed.bulk
    }
    control.close()
    bulk?.close()
  }

  // MARK: Feeding

  private enum Task {
    case state(view: Int, CheckpointReader, BulkChannel)
    case tokens(view: Int, position: Int, BulkChannel)
  }

  private func serveFeed() {
    while true {
      let task = feed.wait { feed -> Task?? in
        if feed.isClosed { return .some(nil) }
        guard let bulk = feed.bulk else { return nil }
        if let checkpoint = feed.state {
          feed.state = nil
          return .some(.state(view: feed.view, checkpoint, bulk))
        }
        guard feed.position < feed.limit else { return nil }
        defer { feed.position += 1 }
        return .some(.tokens(view: feed.view, position: feed.position, bulk))
      }
      guard let task = task ?? nil else { return }
      switch task {
      case .state(let view, let checkpoint, let bulk): send(checkpoint, view, over: bulk)
      case .tokens(let view, let position, let bulk):
        sendTokens(view, position, over: bulk)
      }
    }
  }

  private func send(_ checkpoint: CheckpointReader, _ view: Int, over bulk: BulkChannel) {
    for chunk in 0..<checkpoint.chunks.chunkCount {
      let bytes: [UInt8]
      do {
        bytes = try checkpoint.readChunk(chunk)
      } catch {
        return onLost("checkpoint \(checkpoint.name) cannot be read: \(error)")
      }
      let frame = BulkFrame(
        kind: UInt16(BulkKind.state.rawValue), a: UInt64(view), b: UInt64(chunk), c: 0, d: 0,
        payload: bytes)
      guard (try? bulk.send(frame, deadline: .after(.seconds(60)))) != nil else { return }
    }
  }

  /// Largest part of an operation's tokens in one frame, bytes.
  private static let partByteCountMax = 4 << 20

  private func sendTokens(_ view: Int, _ position: Int, over bulk: BulkChannel) {
    let bytes: [UInt8]
    do {
      bytes = try source.tokens(at: position)
    } catch {
      return onLost("tokens cannot be read: \(error)")
    }
    var offset = 0
    repeat {
      let end = min(offset + Self.partByteCountMax, bytes.count)
      let frame = BulkFrame(
        kind: UInt16(BulkKind.tokens.rawValue), a: UInt64(view), b: UInt64(position),
        c: UInt64(offset), d: UInt64(bytes.count), payload: Array(bytes[offset..<end]))
      guard (try? bulk.send(frame, deadline: .after(.seconds(60)))) != nil else { return }
      offset = end
    } while offset < bytes.count
  }
}

/// Where a feeder takes what it sends.
protocol FeedSource: Sendable {
  /// Encoded token slices of the operation at `position`: all of them, or none.
  func tokens(at position: Int) throws(CorpusError) -> [UInt8]
}
